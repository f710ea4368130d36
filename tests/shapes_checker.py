"""Read background colour, shape colour and shape of a picture from its pixels alone.

The checker knows the palette and what the shapes look like, and nothing of any model. It is
strict: what is blurred, of mixed colour or in several pieces reads as `UNCLEAR`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.shapes.scenes import COLOURS

UNCLEAR = "unclear"
BORDER = 3
"""Width in pixels of the frame from which the background is read."""

MIN_BACKGROUND_SHARE = 0.85
MIN_SHAPE_PIXELS = 150
MIN_SHAPE_PURITY = 0.85
MIN_GROUND_PURITY = 0.97
"""Least share of the pixels on either side of the outline that have that side's colour."""

MAX_EDGE_WIDTH = 3.0
"""Most half-covered pixels for each pixel of outline; drawn pictures have about one."""

MIN_WHOLENESS = 0.93
MIN_OVERLAP = 0.78
ROTATION_STEP_DEGREES = 6

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Inside = Callable[[Floats, Floats], Mask]

NAMES = tuple(COLOURS)
PALETTE: Floats = np.array(list(COLOURS.values()), dtype=np.float64)


@dataclass(frozen=True)
class Template:
    """A shape in the unit circle: its inside, its symmetry and its area there."""

    inside: Inside
    symmetry_degrees: int
    area: float


def read_picture(image: Image.Image) -> tuple[str, str, str]:
    """Return (background, shape colour, shape), each a name or `UNCLEAR`."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64)
    names = _nearest_colour(pixels)
    background = _commonest(_frame(names), MIN_BACKGROUND_SHARE)
    if background is None:
        return UNCLEAR, UNCLEAR, UNCLEAR
    coverage = np.linalg.norm(pixels - PALETTE[background], axis=-1)
    shape_colour = _commonest(names[(names != background) & (coverage > coverage.max() / 2)], 0.5)
    if shape_colour is None:
        return NAMES[background], UNCLEAR, UNCLEAR
    coverage = _coverage(pixels, PALETTE[background], PALETTE[shape_colour])
    mask = coverage > 0.5
    if not _is_clean(mask, coverage, names == background, names == shape_colour):
        return NAMES[background], NAMES[shape_colour], UNCLEAR
    return NAMES[background], NAMES[shape_colour], _read_shape(mask)


def _nearest_colour(pixels: Floats) -> NDArray[np.intp]:
    """Return for each pixel the index (height, width) of the nearest colour of the palette."""
    differences = pixels[:, :, None, :] - PALETTE
    indices: NDArray[np.intp] = np.square(differences).sum(axis=-1).argmin(axis=-1)
    return indices


def _frame(names: NDArray[np.intp]) -> NDArray[np.intp]:
    inner = np.zeros(names.shape, dtype=bool)
    inner[BORDER:-BORDER, BORDER:-BORDER] = True
    return names[~inner]


def _commonest(names: NDArray[np.intp], min_share: float) -> int | None:
    """Return the colour that has at least `min_share` of the pixels, or None."""
    if names.size == 0:
        return None
    counts = np.bincount(names.ravel(), minlength=len(NAMES))
    return int(counts.argmax()) if counts.max() >= min_share * names.size else None


def _coverage(pixels: Floats, background: Floats, colour: Floats) -> Floats:
    """Return how far each pixel is on the way from background (0) to shape colour (1)."""
    way = colour - background
    coverage: Floats = (pixels - background) @ way / (way @ way)
    return coverage


def _is_clean(mask: Mask, coverage: Floats, is_background: Mask, is_shape: Mask) -> bool:
    """Say whether there is one whole sharp shape of one colour on a ground of one colour."""
    if mask.sum() < MIN_SHAPE_PIXELS or mask.mean() > 0.6:
        return False
    outline = mask & ~_shrink(mask)
    half_covered = (coverage > 0.2) & (coverage < 0.8)
    inner, outer = _shrink(mask), _shrink(_shrink(~mask))
    return bool(
        half_covered.sum() <= MAX_EDGE_WIDTH * outline.sum()
        and is_shape[inner].mean() >= MIN_SHAPE_PURITY
        and is_background[outer].mean() >= MIN_GROUND_PURITY
        and _largest_piece(mask).sum() >= MIN_WHOLENESS * mask.sum()
    )


def _shrink(mask: Mask) -> Mask:
    """Return the pixels whose four neighbours are in the mask too; outside counts as in."""
    padded = np.pad(mask, 1, constant_values=True)
    return mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def _largest_piece(mask: Mask) -> Mask:
    """Return the largest connected piece of a mask, as a mask."""
    rest, largest = mask.copy(), np.zeros_like(mask)
    while rest.sum() > largest.sum():
        piece = np.zeros_like(mask)
        piece[np.unravel_index(rest.argmax(), mask.shape)] = True
        grown = _grow(piece) & rest
        while grown.sum() > piece.sum():
            piece, grown = grown, _grow(grown) & rest
        rest &= ~piece
        if piece.sum() > largest.sum():
            largest = piece
    return largest


def _grow(mask: Mask) -> Mask:
    return ~_shrink(~mask)


def _read_shape(mask: Mask) -> str:
    """Return the shape that, in its best rotation, overlaps the mask most."""
    mask = _cut_out(mask)
    overlaps = {name: _best_overlap(mask, template) for name, template in TEMPLATES.items()}
    best = max(overlaps, key=lambda name: overlaps[name])
    return best if overlaps[best] >= MIN_OVERLAP else UNCLEAR


def _cut_out(mask: Mask) -> Mask:
    """Return a new mask around the shape, with a margin for templates that reach further."""
    rows, columns = np.nonzero(mask)
    box = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    return np.pad(box, max(box.shape) // 4)


def _best_overlap(mask: Mask, template: Template) -> float:
    """Return intersection over union with a template of the mask's own area and centre."""
    rows, columns = np.nonzero(mask)
    scale = math.sqrt(mask.sum() / template.area)
    y, x = np.indices(mask.shape, dtype=np.float64)
    y, x = (y - rows.mean()) / scale, (x - columns.mean()) / scale
    best = 0.0
    for degrees in range(0, template.symmetry_degrees, ROTATION_STEP_DEGREES):
        sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
        turned = template.inside(x * cosine + y * sine, y * cosine - x * sine)
        best = max(best, float((turned & mask).sum() / (turned | mask).sum()))
    return best


def _ring(hole: float) -> Inside:
    return lambda x, y: (np.hypot(x, y) <= 1) & (np.hypot(x, y) >= hole)


def _cross(arm: float) -> Inside:
    def inside(x: Floats, y: Floats) -> Mask:
        narrow, wide = np.minimum(abs(x), abs(y)), np.maximum(abs(x), abs(y))
        return (narrow <= arm) & (wide <= 1)

    return inside


def _star(tips: int, notch: float) -> Inside:
    """Return the inside of a star with its notches at radius `notch`; a polygon is one too."""
    half = math.pi / tips
    notch_x, notch_y = notch * math.cos(half), notch * math.sin(half)

    def inside(x: Floats, y: Floats) -> Mask:
        angle = abs((np.arctan2(y, x) + half) % (2 * half) - half)
        radius = np.hypot(x, y)
        along, across = radius * np.cos(angle), radius * np.sin(angle)
        return (notch_x - 1) * across - notch_y * (along - 1) >= 0

    return inside


def _template(inside: Inside, symmetry_degrees: int) -> Template:
    steps = np.linspace(-1.2, 1.2, 481)
    x, y = np.meshgrid(steps, steps)
    return Template(inside, symmetry_degrees, float(inside(x, y).mean() * 2.4**2))


TEMPLATES: dict[str, Template] = {
    "circle": _template(_ring(hole=0.0), ROTATION_STEP_DEGREES),
    "ring": _template(_ring(hole=0.56), ROTATION_STEP_DEGREES),
    "square": _template(_star(tips=4, notch=math.cos(math.pi / 4)), 90),
    "triangle": _template(_star(tips=3, notch=0.5), 120),
    "star": _template(_star(tips=5, notch=0.44), 72),
    "cross": _template(_cross(arm=0.34), 90),
}
