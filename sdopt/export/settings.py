"""What configs say, with diffusers' defaults for what they leave out. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Config = Mapping[str, Any]


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
