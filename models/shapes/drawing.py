"""Draw a scene as an anti-aliased picture."""

from __future__ import annotations

import math
from collections.abc import Callable

from PIL import Image, ImageDraw

from models.shapes.scenes import COLOURS, PICTURE_SIZE, Item, Scene

SUPERSAMPLING = 4
"""Masks are drawn this many times larger and averaged down, which smooths the edges."""

RING_HOLE = 0.56
STAR_INNER = 0.44
CROSS_ARM = 0.34

Point = tuple[float, float]


def draw_scene(scene: Scene) -> Image.Image:
    """Return a new RGB picture of the scene, `PICTURE_SIZE` pixels on each side."""
    picture = Image.new("RGB", (PICTURE_SIZE, PICTURE_SIZE), COLOURS[scene.background])
    for item in scene.items:
        picture.paste(COLOURS[item.colour], mask=_mask(item))
    return picture


def _mask(item: Item) -> Image.Image:
    side = PICTURE_SIZE * SUPERSAMPLING
    mask = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(mask)
    if item.shape in ("circle", "ring"):
        draw.ellipse(_disc_box(item, 1.0), fill=255)
        if item.shape == "ring":
            draw.ellipse(_disc_box(item, RING_HOLE), fill=0)
    else:
        draw.polygon([_to_mask(item, point) for point in OUTLINES[item.shape]()], fill=255)
    return mask.reduce(SUPERSAMPLING)


def _disc_box(item: Item, scale: float) -> tuple[float, float, float, float]:
    x, y = item.centre
    radius = item.radius * scale
    edges = (x - radius, y - radius, x + radius, y + radius)
    left, top, right, bottom = (edge * SUPERSAMPLING for edge in edges)
    return left, top, right, bottom


def _to_mask(item: Item, point: Point) -> Point:
    """Rotate, scale and move a point of the unit circle's outline to mask pixels."""
    angle = math.radians(item.rotation)
    x = point[0] * math.cos(angle) - point[1] * math.sin(angle)
    y = point[0] * math.sin(angle) + point[1] * math.cos(angle)
    return (
        (item.centre[0] + x * item.radius) * SUPERSAMPLING,
        (item.centre[1] + y * item.radius) * SUPERSAMPLING,
    )


def _on_circle(count: int, start_degrees: float, radius: float = 1.0) -> list[Point]:
    angles = [math.radians(start_degrees + 360 * i / count) for i in range(count)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


def _square() -> list[Point]:
    return _on_circle(4, 45)


def _triangle() -> list[Point]:
    return _on_circle(3, -90)


def _star() -> list[Point]:
    tips, notches = _on_circle(5, -90), _on_circle(5, -54, STAR_INNER)
    return [point for pair in zip(tips, notches, strict=True) for point in pair]


def _cross() -> list[Point]:
    arm = CROSS_ARM
    quarter = [(arm, -arm), (arm, -1.0), (-arm, -1.0)]
    points: list[Point] = []
    for _ in range(4):
        points += quarter
        quarter = [(y, -x) for x, y in quarter]
    return points


OUTLINES: dict[str, Callable[[], list[Point]]] = {
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
}
"""Shape name to its outline, inside the unit circle around (0, 0), y downwards."""
