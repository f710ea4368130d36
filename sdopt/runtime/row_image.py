"""The picture that a row starts from, and which part of it the row may redraw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sdopt.runtime.noise import NoiseStream
from sdopt.runtime.ports import FloatArray


@dataclass(frozen=True, slots=True)
class Posterior:
    """What a VAE's encoder makes of a picture: a normal distribution of latents.

    Attributes:
        mean: (channels, height/8, width/8) float32, in scaled-latent units.
        std: Its standard deviation, of the same shape and units.
    """

    mean: FloatArray
    std: FloatArray

    def sample(self, noise: NoiseStream) -> FloatArray:
        """Draw latents, as diffusers does; a new array."""
        drawn = noise.normal((1, *self.mean.shape))[0]
        return self.mean + self.std * drawn


@dataclass(frozen=True, slots=True)
class FixedLatents:
    """Latents that are known, in place of what a VAE's encoder would say; nothing is drawn.

    Attributes:
        latents: (channels, height/8, width/8) float32, in scaled-latent units or, where a row goes
            on with another's latents, in its scheduler's own scale.
    """

    latents: FloatArray

    def sample(self, _: NoiseStream) -> FloatArray:
        """Return the latents; not a copy."""
        return self.latents


@dataclass(frozen=True, slots=True, kw_only=True)
class RowImage:
    """A picture in a row's request.

    Attributes:
        posterior: Of the whole picture, or its latents themselves; None where nothing of it enters
            the latents.
        mask: (height/8, width/8) float32, 1 where the row redraws and 0 where it keeps the picture;
            None to keep nothing.
        masked_posterior: Of the picture without what is redrawn, for inpainting: drawn from even
            where the UNet does not ask for it, because diffusers draws from it.
        unet_mask: Like ``mask``, for UNets that were trained to be told, together with latents of
            ``masked_posterior``.
    """

    posterior: Posterior | FixedLatents | None
    mask: FloatArray | None = None
    masked_posterior: Posterior | None = None
    unet_mask: FloatArray | None = None

    @property
    def unet_channels(self) -> int:
        """How many channels the UNet is given beside the latents."""
        if self.masked_posterior is None or self.unet_mask is None:
            return 0
        return 1 + len(self.masked_posterior.mean)


@dataclass(frozen=True, slots=True)
class KnownRegion:
    """Puts the known part of a picture back into latents, at the noise that they have.

    Attributes:
        latents: (channels, height/8, width/8) float32, of the picture.
        start_noise: Of the same shape, what the row began with.
        mask: (height/8, width/8) float32, 1 where the row redraws and 0 where it is known.
    """

    latents: FloatArray
    start_noise: FloatArray
    mask: FloatArray

    def blend(self, latents: FloatArray, scales: tuple[float, float]) -> None:
        """Overwrite what is known in ``latents``, (channels, height/8, width/8), in place.

        Args:
            latents: In the scheduler's own scale.
            scales: Of the picture and of the start noise, from the plan's ``renoise``.
        """
        image_scale, noise_scale = np.float32(scales[0]), np.float32(scales[1])
        known = image_scale * self.latents + noise_scale * self.start_noise
        latents[...] = (1 - self.mask) * known + self.mask * latents
