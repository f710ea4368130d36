"""Large pictures through a VAE in overlapping tiles, so that its memory has a bound.

The VAE's GroupNorm and attention see a tile where they would see the picture, so that neighbouring
tiles differ a little in colour. All tiles are therefore of one size, the largest that the bound
allows rather than a remainder at the edge, and fade into each other over their overlap.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdopt.runtime.ports import FloatArray


@dataclass(frozen=True, slots=True)
class Tiling:
    """How pictures are cut.

    Attributes:
        side: Of a tile, in latents.
        overlap: Of neighbouring tiles, in latents.
    """

    side: int = 64
    overlap: int = 16

    def starts(self, length: int) -> list[int]:
        """Return where the tiles of a side of so many latents begin, evenly spread."""
        if length <= self.side:
            return [0]
        count = math.ceil((length - self.overlap) / (self.side - self.overlap))
        return [round(index * (length - self.side) / (count - 1)) for index in range(count)]

    def fits(self, height: int, width: int) -> bool:
        """Say whether a picture of so many latents is one tile."""
        return max(height, width) <= self.side


ChooseTiling = Callable[[int, int], Tiling | None]
"""Says for latents of a height and a width how their picture is cut; None for whole."""


def whole(_: int, __: int) -> None:
    """Cut no picture."""


def in_tiles(
    size: tuple[int, int],
    tiling: Tiling,
    scale: int,
    compute: Callable[[slice, slice], NDArray[np.floating]],
) -> FloatArray:
    """Compute a picture tile by tile.

    Args:
        size: (height, width) in latents.
        tiling: How it is cut.
        scale: Values of the result per latent along a side: 8 for pictures, 1 for latents.
        compute: From rows and columns in latents to (channels, height * scale, width * scale).

    Returns:
        (channels, height * scale, width * scale) float32, a new array.
    """
    height, width = size
    total: FloatArray | None = None
    weights = np.zeros((height * scale, width * scale), np.float32)
    for rows, down in _windows(height, tiling, scale):
        for columns, across in _windows(width, tiling, scale):
            part, weight = compute(rows, columns), np.outer(down, across)
            if total is None:
                total = np.zeros((len(part), *weights.shape), np.float32)
            place = _scaled(rows, scale), _scaled(columns, scale)
            total[:, *place] += part * weight
            weights[place] += weight
    assert total is not None
    return total / weights


def _windows(length: int, tiling: Tiling, scale: int) -> list[tuple[slice, FloatArray]]:
    """Return the tiles along one side, each with weights that rise from its inner edges."""
    side = min(tiling.side, length)
    inside = (np.arange(side * scale, dtype=np.float32) + np.float32(0.5)) / scale
    rising = np.minimum(inside / tiling.overlap, 1)
    tiles = []
    for start in tiling.starts(length):
        left = rising if start > 0 else np.ones_like(rising)
        right = rising[::-1] if start + side < length else np.ones_like(rising)
        tiles.append((slice(start, start + side), np.minimum(left, right)))
    return tiles


def _scaled(span: slice, scale: int) -> slice:
    return slice(span.start * scale, span.stop * scale)
