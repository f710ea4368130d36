"""How each family's checkpoints are laid out, as data; its networks are rows of `components`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdopt.errors import CheckpointError


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


@dataclass(frozen=True, slots=True)
class Recipe:
    """What export must know about a family beyond :class:`sdopt.bundle.families.Family`.

    Attributes:
        models: The folders with networks.
        unset: Settings of the UNet that must be absent or None: they belong to other families.
        equal: Pairs of ``folder.setting`` that must agree for the networks to fit together.
    """

    models: tuple[ModelFolder, ...]
    unset: tuple[str, ...]
    equal: tuple[tuple[str, str], ...]

    def check(self, path: Path, configs: Mapping[str, Mapping[str, Any]]) -> None:
        """Refuse settings of other families and networks that do not fit together.

        Raises:
            CheckpointError: One was found.
        """
        for setting in self.unset:
            if (value := configs["unet"].get(setting)) is not None:
                raise CheckpointError(
                    path,
                    f"unet/config.json says {setting}={value!r}; in this family it must be null",
                    "Choose a checkpoint whose UNet belongs to its model_index.json",
                )
        for left, right in self.equal:
            values = [_setting(configs, name) for name in (left, right)]
            if values[0] != values[1]:
                raise CheckpointError(
                    path,
                    f"{left}={values[0]!r} and {right}={values[1]!r} must be equal",
                    "Choose a checkpoint whose networks belong together",
                )


def _setting(configs: Mapping[str, Mapping[str, Any]], name: str) -> object:
    folder, _, key = name.partition(".")
    return configs[folder].get(key)


RECIPES: dict[str, Recipe] = {
    "sd1": Recipe(
        models=(
            ModelFolder("text_encoder", "CLIPTextModel", "model"),
            ModelFolder("vae", "AutoencoderKL", "diffusion_pytorch_model"),
            ModelFolder("unet", "UNet2DConditionModel", "diffusion_pytorch_model"),
        ),
        unset=(
            "addition_embed_type",
            "class_embed_type",
            "encoder_hid_dim_type",
            "num_class_embeds",
            "time_cond_proj_dim",
        ),
        equal=(
            ("unet.in_channels", "vae.latent_channels"),
            ("unet.out_channels", "vae.latent_channels"),
            ("unet.cross_attention_dim", "text_encoder.hidden_size"),
        ),
    ),
}
