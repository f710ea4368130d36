"""The fixed test prompts: combinations that no training picture and no caption ever held."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.shapes.scenes import combinations

PROMPT_COUNT = 100
SEED = 20_000
TEMPLATES = (
    "a {colour} {shape} on a {background} background",
    "a small {colour} {shape} on a {background} background",
    "a large {colour} {shape} on a {background} background",
    "a {background} background with a {colour} {shape}",
    "a picture of a {colour} {shape} on a {background} background",
    "a {colour} {shape} in the centre on a {background} background",
    "a large {colour} {shape} on the left on a {background} background",
    "{colour} {shape}, {background} background",
    "a {background} background with a small {colour} {shape} in the top right",
    "a {colour} {shape} at the bottom on a {background} background",
)


@dataclass(frozen=True)
class ShapesPrompt:
    """A prompt and what its picture must show."""

    prompt: str
    background: str
    shape_colour: str
    shape: str


def held_out_prompts() -> list[ShapesPrompt]:
    """Return the 100 test prompts; every held-out combination occurs once or twice."""
    return _write_prompts(combinations(held_out=True))


def known_prompts() -> list[ShapesPrompt]:
    """Return 100 prompts of trained combinations, for choices such as the guidance scale."""
    return _write_prompts(combinations(held_out=False))


def _write_prompts(looks: list[tuple[str, str, str]]) -> list[ShapesPrompt]:
    order = np.random.default_rng(SEED).permutation(len(looks))
    prompts = []
    for index in range(PROMPT_COUNT):
        background, colour, shape = looks[order[index % len(looks)]]
        template = TEMPLATES[index % len(TEMPLATES)]
        text = template.format(colour=colour, shape=shape, background=background)
        prompts.append(ShapesPrompt(text, background, colour, shape))
    return prompts
