"""What a row begins with: its first latents, drawn from its own stream in diffusers' order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sdopt.runtime.ports import FloatArray
from sdopt.runtime.row import RowRequest
from sdopt.runtime.row_image import KnownRegion, RowImage


@dataclass(frozen=True, slots=True)
class RowStart:
    """What a row begins with.

    Attributes:
        latents: (channels, height/8, width/8) float32.
        known: What is put back after every step; None where nothing is.
        unet_condition: (channels, height/8, width/8) float32, what an inpainting UNet takes beside
            the latents: mask and latents of the masked picture; no channels for other UNets.
    """

    latents: FloatArray
    known: KnownRegion | None
    unet_condition: FloatArray


def draw_start(request: RowRequest, latent_shape: tuple[int, int, int]) -> RowStart:
    """Draw what a row begins with; its stream then stands at the first step's noise."""
    image_scale, noise_scale = request.plan.start.astype(np.float32)
    image = request.image
    posterior = image.posterior if image else None
    known = posterior.sample(request.noise) if posterior else None
    noise = np.zeros(latent_shape, np.float32)
    if noise_scale:  # latents that are taken over get no noise, and none is drawn
        noise = request.noise.start((1, *latent_shape))[0]
    latents = noise * noise_scale
    if known is not None:
        latents += image_scale * known
    nothing = np.empty((0, *latent_shape[1:]), np.float32)
    condition = nothing if image is None else _unet_condition(image, request, nothing)
    mask = None if image is None or known is None else image.mask
    region = None if mask is None or known is None else KnownRegion(known, noise, mask)
    return RowStart(latents, region, condition)


def _unet_condition(image: RowImage, request: RowRequest, nothing: FloatArray) -> FloatArray:
    if image.masked_posterior is None:
        return nothing
    masked = image.masked_posterior.sample(request.noise)
    if image.unet_mask is None:
        return nothing
    return np.concatenate([image.unet_mask[None], masked])
