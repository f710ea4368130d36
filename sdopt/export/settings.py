"""What configs say, with diffusers' defaults for what they leave out. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sdopt.bundle.families import Family

Config = Mapping[str, Any]


class Configs(Protocol):
    """A checkpoint, as far as specs and cases need to know it."""

    @property
    def family(self) -> Family:
        """What kind of pipeline it is."""
        ...

    def config(self, folder: str) -> Config:
        """Return the config.json of a folder."""
        ...


def unet_conditions(unet: Config) -> tuple[str, ...]:
    """Name the inputs that a UNet takes beside sample, timestep and prompt, in their order."""
    pooled = ("text_embeds", "time_ids") if unet.get("addition_embed_type") == "text_time" else ()
    guidance = ("timestep_cond",) if unet.get("time_cond_proj_dim") is not None else ()
    return (*pooled, *guidance)


def vae_scale_factor(vae: Config) -> int:
    """Return how many pixels one latent spans along one side."""
    return int(2 ** (len(vae["block_out_channels"]) - 1))


def scaling_factor(vae: Config) -> float:
    """Return what the VAE's latents are multiplied by; dimensionless."""
    return float(vae.get("scaling_factor") or 0.18215)


def default_size(unet: Config, vae: Config) -> tuple[int, int]:
    """Return the height and width, in pixels, that the UNet was trained for."""
    sample_size = unet.get("sample_size") or 64
    height, width = sample_size if isinstance(sample_size, (list, tuple)) else (sample_size,) * 2
    return int(height) * vae_scale_factor(vae), int(width) * vae_scale_factor(vae)
