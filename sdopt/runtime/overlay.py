"""Work on the masked area alone: cut it out enlarged, and put what became of it back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels, the last two exclusive."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """Puts a redrawn area back into the picture that it was cut from.

    Attributes:
        image: The whole picture.
        mask: Of the same size, bright where it was redrawn; grey mixes.
        box: The area that was cut out.
    """

    image: Image.Image
    mask: Image.Image
    box: Box

    def apply(self, redrawn: Image.Image) -> Image.Image:
        """Return the whole picture with what was redrawn, of any size, in its place."""
        left, top, right, bottom = self.box
        whole = self.image.convert("RGB")
        changed = whole.copy()
        changed.paste(
            redrawn.resize((right - left, bottom - top), Image.Resampling.LANCZOS), (left, top)
        )
        return Image.composite(changed, whole, self.mask.convert("L"))


def crop_region(marked: NDArray[np.bool_], size: tuple[int, int], padding: int) -> Box:
    """Find the area that holds everything marked, of the aspect ratio of what is generated.

    Args:
        marked: (height, width) bool, somewhere True.
        size: (height, width) of what is generated, in pixels.
        padding: Pixels to keep around it.
    """
    rows, columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    height, width = marked.shape
    top, bottom = max(rows[0] - padding, 0), min(rows[-1] + 1 + padding, height)
    left, right = max(columns[0] - padding, 0), min(columns[-1] + 1 + padding, width)
    ratio = size[1] / size[0]
    wanted_width = max(right - left, round((bottom - top) * ratio))
    wanted_height = max(bottom - top, round((right - left) / ratio))
    left, right = _widened(left, right, wanted_width, width)
    top, bottom = _widened(top, bottom, wanted_height, height)
    return left, top, right, bottom


def _widened(begin: int, end: int, wanted: int, limit: int) -> tuple[int, int]:
    """Grow a span on both sides to a length, moved or cut where it would leave 0..limit."""
    length = min(wanted, limit)
    start = int(begin) - (length - int(end - begin)) // 2
    start = min(max(start, 0), limit - length)
    return start, start + length
