"""What export asks of a family's checkpoints. It follows from the family's row alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from sdopt.bundle.families import Family
from sdopt.errors import CheckpointError

Configs = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder of a checkpoint with a network in it.

    Attributes:
        folder: Its name.
        model_class: The class that its config.json must name.
        weights: What its weight files' names begin with.
    """

    folder: str
    model_class: str
    weights: str


_MODELS = (
    ModelFolder("text_encoder", "CLIPTextModel", "model"),
    ModelFolder("text_encoder_2", "CLIPTextModelWithProjection", "model"),
    ModelFolder("vae", "AutoencoderKL", "diffusion_pytorch_model"),
    ModelFolder("unet", "UNet2DConditionModel", "diffusion_pytorch_model"),
)
_NEVER_SET = ("class_embed_type", "encoder_hid_dim_type", "num_class_embeds")
"""Settings of the UNet that no family here uses: they add inputs and layers of other models."""


def model_folders(family: Family) -> tuple[ModelFolder, ...]:
    """Return the folders with networks that a checkpoint of the family has."""
    encoders = {encoding.component for encoding in family.text_encodings}
    return tuple(m for m in _MODELS if m.folder in encoders or m.folder in ("vae", "unet"))


def check(family: Family, path: Path, configs: Configs) -> None:
    """Refuse settings of other families and networks that do not fit together.

    Raises:
        CheckpointError: One was found.
    """
    for setting in _unset(family):
        if (value := configs["unet"].get(setting)) is not None:
            raise CheckpointError(
                path,
                f"unet/config.json says {setting}={value!r}; in this family ({family.title}) "
                "it must be null",
                "Choose a checkpoint whose UNet belongs to its model_index.json",
            )
    for left, right in _equal(family):
        values = [_value(configs, terms) for terms in (left, right)]
        if values[0] != values[1]:
            raise CheckpointError(
                path,
                f"{left}={values[0]!r} and {right}={values[1]!r} must be equal "
                f"in this family ({family.title})",
                "Choose a checkpoint whose networks belong together",
            )


def _unset(family: Family) -> tuple[str, ...]:
    unused = {
        "addition_embed_type": not family.time_ids,
        "time_cond_proj_dim": family.guidance != "embedded",
    }
    return (*_NEVER_SET, *(name for name, never in unused.items() if never))


def _equal(family: Family) -> list[tuple[str, str]]:
    """List what must be equal for the networks to fit together, as sums of products."""
    latents = "vae.latent_channels"
    masked = family.task == "inpainting"
    widths = [f"{encoding.component}.hidden_size" for encoding in family.text_encodings]
    pairs = [
        ("unet.in_channels", f"1 + 2 * {latents}" if masked else latents),
        ("unet.out_channels", latents),
        ("unet.cross_attention_dim", " + ".join(widths)),
    ]
    if family.pooled is not None:
        pooled = f"{family.pooled.component}.projection_dim"
        ids = f"{family.num_time_ids} * unet.addition_time_embed_dim"
        pairs.append(("unet.projection_class_embeddings_input_dim", f"{pooled} + {ids}"))
    return pairs


def _value(configs: Configs, terms: str) -> int | None:
    """Compute a sum of products of settings and numbers; None where one is no whole number."""
    sums = [[_factor(configs, name) for name in term.split(" * ")] for term in terms.split(" + ")]
    whole = all(isinstance(factor, int) for term in sums for factor in term)
    return sum(map(prod, sums)) if whole else None


def _factor(configs: Configs, name: str) -> Any:
    folder, _, key = name.partition(".")
    return int(name) if name.isdigit() else configs[folder].get(key)
