"""Describe a scene in words: the same scene gets a different caption each time it is used."""

from __future__ import annotations

import numpy as np

from models.shapes.scenes import Item, Scene

SIZE_WORDS: dict[str, tuple[str, ...]] = {
    "small": ("small", "little", "small"),
    "medium": ("medium", "medium sized", "", ""),
    "large": ("large", "big", "large"),
}
POSITION_PHRASES: dict[str, tuple[str, ...]] = {
    "centre": ("in the centre", "in the middle", "in the center"),
    "left": ("on the left", "at the left", "on the left side"),
    "right": ("on the right", "at the right", "on the right side"),
    "top": ("at the top",),
    "bottom": ("at the bottom",),
    "top left": ("in the top left", "in the top left corner"),
    "top right": ("in the top right", "in the top right corner"),
    "bottom left": ("in the bottom left", "in the bottom left corner"),
    "bottom right": ("in the bottom right", "in the bottom right corner"),
}
TEMPLATES: tuple[str, ...] = (
    "a {thing} on a {background} background",
    "a {thing} on a {background} background",
    "a {thing} on {background}",
    "a {thing} in front of a {background} background",
    "a {background} background with a {thing}",
    "a {thing}, {background} background",
    "{thing}, {background} background",
    "{thing} on a {background} background",
    "a picture of a {thing} on a {background} background",
    "a drawing of a {thing} on a {background} background",
    "an image of a {thing} on a {background} background",
    "on a {background} background, a {thing}",
    "a {background} picture with a {thing}",
)
PAIR_TEMPLATES: tuple[str, ...] = (
    "{things} on a {background} background",
    "a {background} background with {things}",
    "a picture of {things} on a {background} background",
    "{things}, {background} background",
)
SIZE_PROBABILITY = 0.5
POSITION_PROBABILITY = 0.4
NO_BACKGROUND_PROBABILITY = 0.04
FULL_STOP_PROBABILITY = 0.1


def describe(scene: Scene, rng: np.random.Generator) -> str:
    """Return one of the many captions of a scene; size and position are often left out."""
    caption = _pair(scene, rng) if len(scene.items) == 2 else _single(scene, rng)
    return caption + ("." if rng.random() < FULL_STOP_PROBABILITY else "")


def _single(scene: Scene, rng: np.random.Generator) -> str:
    (item,) = scene.items
    thing = _thing(item, rng)
    if rng.random() < POSITION_PROBABILITY:
        thing = f"{thing} {_pick(POSITION_PHRASES[item.position], rng)}"
    if rng.random() < NO_BACKGROUND_PROBABILITY:
        return f"a {thing}"
    return _pick(TEMPLATES, rng).format(thing=thing, background=scene.background)


def _pair(scene: Scene, rng: np.random.Generator) -> str:
    with_positions = rng.random() < 0.7
    items = list(scene.items)
    if rng.random() < 0.5:
        items.reverse()
    things = []
    for item in items:
        place = f" {_pick(POSITION_PHRASES[item.position], rng)}" if with_positions else ""
        things.append(f"a {_thing(item, rng)}{place}")
    template = _pick(PAIR_TEMPLATES, rng)
    return template.format(things=" and ".join(things), background=scene.background)


def _thing(item: Item, rng: np.random.Generator) -> str:
    size = _pick(SIZE_WORDS[item.size], rng) if rng.random() < SIZE_PROBABILITY else ""
    return " ".join(word for word in (size, item.colour, item.shape) if word)


def _pick(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]
