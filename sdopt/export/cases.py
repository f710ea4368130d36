"""Realistic inputs on which a graph is compared with torch: the same numbers at every export.

A comparison on plain noise hides much: prompts are mostly padding, latents are smooth at low noise,
pictures have flat areas. Each component gets two cases: two rows of an even size, and one row of
an odd size that the UNet's downsampling does not divide. The second is kept in the bundle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sdopt.export.settings import Configs, scaling_factor, unet_conditions, vae_scale_factor

Floats = NDArray[np.float32]
Case = dict[str, NDArray[Any]]

PROMPTS = (
    "a photograph of an astronaut riding a horse, highly detailed, golden hour",
    "",
    "a small red circle on a blue background",
)
KEPT = 1
"""Index of the case that goes into the bundle."""

_SIZES = ((2, 8, 16), (1, 9, 11))  # batch, latent height, latent width
_NOISE = (((981.0, 0.998), (21.0, 0.10)), ((501.0, 0.76),))  # timestep and share of noise, per row


class Source(Configs, Protocol):
    """What cases are made of: the checkpoint's configs, and what its text encoders say."""

    def input_ids(self, component: str) -> NDArray[np.int64]:
        """Tokenise :data:`PROMPTS` for a text encoder: (3, tokens)."""
        ...

    def encoded(self) -> Mapping[str, Floats]:
        """Encode :data:`PROMPTS`.

        Returns:
            ``encoder_hidden_states`` (3, tokens, width) and, where the family has it,
            ``text_embeds`` (3, width).
        """
        ...


def text_encoder(component: str, source: Source) -> list[Case]:
    """Take two prompts, one of them empty, and then one with a concept of two vectors in it."""
    input_ids, width = source.input_ids(component), source.config(component)["hidden_size"]
    with_concept = input_ids[2:].copy()
    with_concept[:, 2:4] = -1, -2
    concept_embeds = np.random.default_rng(4).normal(0, 0.02, (2, width)).astype(np.float32)
    return [
        {"input_ids": input_ids[:2], "concept_embeds": np.zeros((1, width), np.float32)},
        {"input_ids": with_concept, "concept_embeds": concept_embeds},
    ]


def unet(source: Source) -> list[Case]:
    """Make latents at high, low and middle noise, with the embeddings of real prompts."""
    random, config = np.random.default_rng(1), source.config("unet")
    prompts = {**source.encoded(), **_conditions(source)}
    names = ("encoder_hidden_states", *unet_conditions(config))
    channels = config["in_channels"]
    return [
        {
            "sample": np.stack([_noised(random, (channels, *size), share) for _, share in rows]),
            "timestep": np.array([timestep for timestep, _ in rows], np.float32),
            **{name: prompts[name][first : first + batch] for name in names},
        }
        for (batch, *size), rows, first in zip(_SIZES, _NOISE, (0, 2), strict=True)
    ]


def _conditions(source: Source) -> dict[str, Floats]:
    """Make a row for each prompt of what a UNet may take beside its embeddings."""
    numbers = np.array([[1024, 768, 0, 64, 1024, 1024]] * len(PROMPTS), np.float32)
    width = source.config("unet").get("time_cond_proj_dim") or 0
    phases = np.outer([0.0, 6.5, 7.0], np.arange(width))
    return {
        "time_ids": numbers[:, : source.family.num_time_ids],
        "timestep_cond": np.sin(phases).astype(np.float32),
    }


def vae_decoder(source: Source) -> list[Case]:
    """Make smooth latents in the VAE's own scale."""
    random, vae = np.random.default_rng(2), source.config("vae")
    channels = vae["latent_channels"]
    return [
        {"latent_sample": smooth(random, (batch, channels, *size)) / scaling_factor(vae)}
        for batch, *size in _SIZES
    ]


def vae_encoder(source: Source) -> list[Case]:
    """Make soft pictures in -1..1."""
    random, vae = np.random.default_rng(3), source.config("vae")
    factor, channels = vae_scale_factor(vae), vae["in_channels"]
    return [
        {"sample": np.tanh(smooth(random, (batch, channels, height * factor, width * factor)))}
        for batch, height, width in _SIZES
    ]


def smooth(random: np.random.Generator, shape: Sequence[int]) -> Floats:
    """Draw fields of a few long waves, about standard normal; shape (..., height, width)."""
    *leading, height, width = shape
    y, x = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)
    fields = np.zeros((*leading, height, width))
    for index in np.ndindex(*leading):
        for weight, fy, fx, phase in random.uniform(-1, 1, (6, 4)):
            fields[index] += weight * np.cos(2 * np.pi * (2 * fy * y + 2 * fx * x + phase))
    return fields.astype(np.float32)


def _noised(random: np.random.Generator, shape: Sequence[int], share: float) -> Floats:
    noise = random.standard_normal(shape, np.float32)
    return np.float32(np.sqrt(1 - share**2)) * smooth(random, shape) + np.float32(share) * noise


def rounded(case: Mapping[str, NDArray[Any]], dtypes: Mapping[str, str]) -> Case:
    """Return a case in the dtypes of the graph's inputs; torch is given these very numbers."""
    return {name: np.ascontiguousarray(array.astype(dtypes[name])) for name, array in case.items()}
