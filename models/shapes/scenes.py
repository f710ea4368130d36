"""What a picture holds: one or two coloured shapes on a coloured background.

A sixth of the (shape, shape colour, background) combinations is held out of training, by a fixed
rule, so that prompts for them test composition and not memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

PICTURE_SIZE = 96
"""Height and width of every picture, in pixels."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (225, 30, 30),
    "green": (30, 175, 45),
    "blue": (30, 50, 225),
    "yellow": (240, 225, 35),
    "cyan": (40, 215, 230),
    "magenta": (220, 40, 205),
    "white": (245, 245, 245),
    "black": (12, 12, 12),
}
"""Colour name to 8-bit RGB: near the corners of the RGB cube, so that no two can be confused."""

SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")

SIZES: dict[str, tuple[float, float]] = {
    "small": (16.0, 18.0),
    "medium": (22.0, 25.0),
    "large": (30.0, 34.0),
}
"""Size name to the range of the radius of the circumscribed circle, in pixels."""

POSITIONS: dict[str, tuple[int, int]] = {
    "centre": (0, 0),
    "left": (-1, 0),
    "right": (1, 0),
    "top": (0, -1),
    "bottom": (0, 1),
    "top left": (-1, -1),
    "top right": (1, -1),
    "bottom left": (-1, 1),
    "bottom right": (1, 1),
}
"""Position name to (x, y) direction from the middle; x grows to the right, y downwards."""

TWO_SHAPES_PROBABILITY = 0.12
CENTRE_PROBABILITY = 0.35
MARGIN = 3.0
POSITION_JITTER = 2.5
MAX_ROTATION_DEGREES = 12.0


@dataclass(frozen=True)
class Item:
    """One shape as it is drawn. Lengths are in pixels, the rotation in degrees."""

    shape: str
    colour: str
    size: str
    position: str
    centre: tuple[float, float]
    radius: float
    rotation: float


@dataclass(frozen=True)
class Scene:
    """A background colour and the one or two items on it."""

    background: str
    items: tuple[Item, ...]


def is_held_out(shape: str, colour: str, background: str) -> bool:
    """Say whether a combination is kept out of training: one shape for each pair of colours."""
    names = list(COLOURS)
    total = SHAPES.index(shape) + names.index(colour) + names.index(background)
    return total % len(SHAPES) == 0


def combinations(*, held_out: bool) -> list[tuple[str, str, str]]:
    """List (background, shape colour, shape), either those held out or those trained on."""
    return [
        (background, colour, shape)
        for background, colour, shape in product(COLOURS, COLOURS, SHAPES)
        if background != colour and is_held_out(shape, colour, background) == held_out
    ]


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draw a random training scene; no item in it is a held-out combination."""
    background = str(rng.choice(list(COLOURS)))
    if rng.random() < TWO_SHAPES_PROBABILITY:
        return _sample_pair(rng, background)
    shape, colour = _sample_look(rng, background)
    position = "centre" if rng.random() < CENTRE_PROBABILITY else str(rng.choice(list(POSITIONS)))
    size = str(rng.choice(list(SIZES)))
    return Scene(background, (place(rng, shape, colour, size, position),))


def training_scenes(count: int, seed: int) -> list[Scene]:
    """Return the same `count` scenes for the same seed."""
    rng = np.random.default_rng(seed)
    return [sample_scene(rng) for _ in range(count)]


def place(rng: np.random.Generator, shape: str, colour: str, size: str, position: str) -> Item:
    """Put a shape of a named size at a named position, with slight variation of both."""
    radius = float(rng.uniform(*SIZES[size]))
    reach = PICTURE_SIZE / 2 - radius - MARGIN - POSITION_JITTER
    x, y = (
        PICTURE_SIZE / 2 + direction * reach + float(rng.uniform(-1, 1)) * POSITION_JITTER
        for direction in POSITIONS[position]
    )
    rotation = float(rng.uniform(-1, 1)) * MAX_ROTATION_DEGREES
    return Item(shape, colour, size, position, (x, y), radius, rotation)


def _sample_pair(rng: np.random.Generator, background: str) -> Scene:
    positions = ("left", "right") if rng.random() < 0.5 else ("top", "bottom")
    items = []
    for position in positions:
        shape, colour = _sample_look(rng, background)
        items.append(place(rng, shape, colour, "small", position))
    return Scene(background, tuple(items))


def _sample_look(rng: np.random.Generator, background: str) -> tuple[str, str]:
    while True:
        shape, colour = str(rng.choice(SHAPES)), str(rng.choice(list(COLOURS)))
        if colour != background and not is_held_out(shape, colour, background):
            return shape, colour
