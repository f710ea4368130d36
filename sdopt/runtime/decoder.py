"""From latents to pictures: the VAE's decoder, one picture at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdopt.errors import NonFinitePictureError
from sdopt.runtime.clock import EngineClock
from sdopt.runtime.images import to_pixels
from sdopt.runtime.ports import Array, Call, Engine, FloatArray, dtype_of
from sdopt.runtime.tiles import ChooseTiling, in_tiles, whole


@dataclass(frozen=True, slots=True)
class _Bound:
    latents: Array
    sample: NDArray[np.floating]
    call: Call


class LatentDecoder:
    """Decodes latents of any size; keeps buffers and a bound call for the size used last.

    Attributes:
        clock: Time spent inside decoder calls so far.
    """

    def __init__(
        self,
        vae_decoder: Engine,
        *,
        scaling_factor: float,
        vae_scale_factor: int,
        choose_tiling: ChooseTiling = whole,
    ) -> None:
        """Keep the engine, and the rule by which pictures are decoded in tiles."""
        self._choose_tiling = choose_tiling
        self._vae_decoder = vae_decoder
        self._scaling_factor = np.float32(scaling_factor)
        self._factor = vae_scale_factor
        self._bound: _Bound | None = None
        self.clock = EngineClock()

    def decode(self, latents: FloatArray) -> NDArray[np.uint8]:
        """Decode one picture.

        Args:
            latents: (channels, height/8, width/8) float32 in scaled-latent units.

        Returns:
            (height, width, 3) uint8, a new array.

        Raises:
            EngineExecutionError: The VAE failed.
            NonFinitePictureError: The VAE overflowed.
        """
        _, height, width = latents.shape
        tiling = self._choose_tiling(height, width)
        if tiling is None or tiling.fits(height, width):
            sample = self._sample(latents)
        else:
            sample = in_tiles(
                (height, width),
                tiling,
                self._factor,
                lambda rows, columns: self._sample(latents[:, rows, columns]),
            )
        if not np.isfinite(sample).all():
            raise NonFinitePictureError
        return to_pixels(sample)

    def _sample(self, latents: FloatArray) -> NDArray[np.floating]:
        """Run the decoder: (3, height, width), a view that the next run overwrites."""
        bound = self._bind(latents.shape)
        bound.latents[0] = latents / self._scaling_factor
        self.clock.run(bound.call)
        sample: NDArray[np.floating] = bound.sample[0]
        return sample

    def _bind(self, shape: tuple[int, ...]) -> _Bound:
        if self._bound is None or self._bound.latents.shape[1:] != shape:
            _, height, width = shape
            latents = np.empty((1, *shape), dtype_of(self._vae_decoder, "latent_sample"))
            size = (1, 3, height * self._factor, width * self._factor)
            sample = np.empty(size, dtype_of(self._vae_decoder, "sample"))
            call = self._vae_decoder.bind({"latent_sample": latents, "sample": sample})
            self._bound = _Bound(latents, sample, call)
        return self._bound
