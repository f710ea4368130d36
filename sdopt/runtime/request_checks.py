"""Checks of a request's single values, each with the message that says what is allowed."""

from __future__ import annotations

import math
import secrets

from sdopt.errors import InvalidSizeError, InvalidValueError

MAX_SEED = 2**32 - 1
SMALLEST_SIDE = 64
"""Pixels. Below 64×64 torch draws its noise by another algorithm (schedulers.md)."""


def check_images(value: object) -> int:
    """Return a number of pictures per prompt, if it is one."""
    return _within(
        "num_images_per_prompt",
        whole_number("num_images_per_prompt", value, "a whole number"),
        1,
        1000,
    )


def check_guidance(value: object) -> float:
    """Return a guidance scale, if it is one: finite and at least 0."""
    if (
        not isinstance(value, (int, float))
        or isinstance(value, bool)
        or not (math.isfinite(value) and value >= 0)
    ):
        raise InvalidValueError("guidance_scale", value, "a finite number of at least 0")
    return float(value)


def choose_seed(value: object, num_images: int, name: str = "seed") -> int:
    """Return the seed of the first picture: the given one, or a drawn one.

    Raises:
        InvalidValueError: It is no integer, or some picture's seed would lie outside 0..2**32-1.
    """
    if value is None:
        return secrets.randbelow(MAX_SEED + 2 - num_images)
    allowed = f"a whole number from 0 to {MAX_SEED + 1 - num_images}"
    seed = whole_number(name, value, allowed)
    if not 0 <= seed <= MAX_SEED + 1 - num_images:
        hint = f"Picture i of {num_images} uses {name} + i" if num_images > 1 else ""
        raise InvalidValueError(name, seed, allowed, hint)
    return seed


def whole_number(name: str, value: object, allowed: str) -> int:
    """Return an int, or a NumPy integer as an int; anything else (bool, 4.0, "4") is refused."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InvalidValueError(name, value, allowed)
    return int(value.__index__())


def check_side(name: str, value: object, multiple: int) -> int:
    """Return a height or width in pixels, if it is a multiple of ``multiple`` of at least 64."""
    side = whole_number(name, value, f"a multiple of {multiple}")
    if side < SMALLEST_SIDE or side % multiple:
        raise InvalidSizeError(name, side, multiple, SMALLEST_SIDE)
    return side


def check_clip_skip(value: object, most: int) -> int:
    """Return a number of layers to leave out, if a bundle's text encoders can.

    Raises:
        InvalidValueError: It is none, or beyond what they can.
    """
    clip_skip = whole_number("clip_skip", value, "a whole number")
    if clip_skip and not most:
        hint = "Export the checkpoint again with this version of sdopt"
        allowed = "0 for this bundle, whose text encoders offer their last layer only"
        raise InvalidValueError("clip_skip", clip_skip, allowed, hint)
    return _within("clip_skip", clip_skip, 0, most)


def _within(name: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise InvalidValueError(name, value, f"a whole number from {least} to {most}")
    return value
