"""Reference pairs of the loop graphs: numbers drawn at random, and the textbook in float64.

Three slots: the first steps without guidance, the second stays as it is, the third steps with
guidance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdopt.bundle.loop_graphs import COLUMNS, STATE_ROWS, WIDTH, UnetTensors
from sdopt.bundle.reference import ReferencePair

Arrays = dict[str, NDArray[Any]]

_SIZE = (4, 5)
_STAGES = 4
_CURSOR = np.array([1, 6, 11], np.int32)
_SLOT = np.array([0, 2, 2], np.int32)
_CONDITIONAL = np.array([0, 0, 1], np.int32)
_UNCONDITIONAL = np.array([0, 0, 2], np.int32)
_ACTIVE = np.array([1, 0, 1], np.int32)
_SLOTS = len(_CURSOR)


def head(unet: UnetTensors) -> ReferencePair:
    """Make inputs of the head and what it should give."""
    inputs, entry = _common(unet)
    condition = _normal(8, _SLOTS, unet.condition_channels, *_SIZE)
    latents = np.einsum("sk,skchw->schw", entry["inputs"], inputs["state"].astype(np.float64))
    told = np.concatenate([latents, condition], axis=1)[_SLOT]
    given = {**inputs, "slot": _SLOT}
    if unet.condition_channels:
        given["condition"] = condition
    return ReferencePair(given, _singles({"sample": told, "timestep": entry["timestep"][_SLOT, 0]}))


def tail(unet: UnetTensors) -> ReferencePair:
    """Make inputs of the tail and what it should give."""
    inputs, entry = _common(unet)
    shape = (unet.latent_channels, *_SIZE)
    given = {
        **inputs,
        "out_sample": _normal(1, len(_SLOT), *shape).astype(unet.output_dtype),
        "noise": _normal(2, _SLOTS, *shape),
        "known": _normal(3, _SLOTS, 2, *shape),
        "mask": (_normal(4, _SLOTS, 1, *_SIZE) > 0).astype(np.float32),
        "conditional": _CONDITIONAL,
        "unconditional": _UNCONDITIONAL,
        "active": _ACTIVE,
    }
    return ReferencePair(given, _singles(_tail_outputs(given, entry)))


def _tail_outputs(given: Arrays, entry: Arrays) -> Arrays:
    answers, state = given["out_sample"].astype(np.float64), given["state"].astype(np.float64)
    cond, uncond = answers[_CONDITIONAL], answers[_UNCONDITIONAL]
    scale = entry["guidance_scale"][:, :, None, None]
    output = (uncond + scale * (cond - uncond))[:, None]
    known = np.concatenate([state, output], axis=1)
    stack = np.concatenate([known, given["noise"][:, None]], axis=1)
    updates = entry["updates"].reshape(_SLOTS, STATE_ROWS + 2, STATE_ROWS)
    moved = np.einsum("sjk,sjchw->skchw", updates, stack)
    kept = np.einsum("sk,skchw->schw", entry["renoise"], given["known"])
    moved[:, 0] = np.where(given["mask"] > 0, moved[:, 0], kept)
    return {
        "next_state": np.where(_ACTIVE[:, None, None, None, None] > 0, moved, state),
        "next_cursor": _CURSOR + _ACTIVE,
        "denoised": np.einsum("sk,skchw->schw", entry["denoised"], known),
        "latents_sum": moved[:, 0].sum(axis=(1, 2, 3)),
    }


def _common(unet: UnetTensors) -> tuple[Arrays, Arrays]:
    """Return what both graphs take, and each slot's entry of the table in float64."""
    coefficients = _normal(5, _SLOTS * _STAGES, WIDTH)
    state = _normal(6, _SLOTS, STATE_ROWS, unet.latent_channels, *_SIZE)
    rows = coefficients[_CURSOR].astype(np.float64)
    parts = np.split(rows, np.cumsum(list(COLUMNS.values()))[:-1], axis=1)
    inputs = {"coefficients": coefficients, "cursor": _CURSOR, "state": state}
    return inputs, dict(zip(COLUMNS, parts, strict=True))


def _normal(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def _singles(outputs: Arrays) -> Arrays:
    return {name: array.astype(np.float32) for name, array in outputs.items()}
