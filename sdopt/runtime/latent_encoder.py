"""From pictures to latents: the VAE's encoder, one picture at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from sdopt.runtime.clock import EngineClock
from sdopt.runtime.ports import Array, Engine, FloatArray, dtype_of
from sdopt.runtime.row_image import Posterior
from sdopt.runtime.tiles import ChooseTiling, in_tiles, whole

_LOG_VARIANCE = -30.0, 20.0
"""The limits that diffusers sets to the encoder's log-variance."""


class LatentEncoder:
    """Encodes pictures of any size.

    Attributes:
        clock: Time spent inside encoder calls so far.
    """

    def __init__(
        self,
        open_encoder: Callable[[], Engine],
        *,
        scaling_factor: float,
        vae_scale_factor: int,
        choose_tiling: ChooseTiling = whole,
    ) -> None:
        """Keep the way to an engine, which is loaded when the first picture comes."""
        self._choose_tiling = choose_tiling
        self._open_encoder, self._factor = open_encoder, vae_scale_factor
        self._scaling_factor = np.float32(scaling_factor)
        self.clock = EngineClock()

    def encode(self, sample: FloatArray) -> Posterior:
        """Encode one picture.

        Args:
            sample: (3, height, width) float32 in -1..1, sides multiples of the VAE's factor.

        Raises:
            EngineExecutionError: The VAE failed.
        """
        height, width = (side // self._factor for side in sample.shape[1:])
        tiling = self._choose_tiling(height, width)
        if tiling is None or tiling.fits(height, width):
            parameters = self._parameters(sample)
        else:
            parameters = in_tiles(
                (height, width),
                tiling,
                1,
                lambda rows, columns: self._parameters(
                    sample[:, self._pixels(rows), self._pixels(columns)]
                ),
            )
        mean, log_variance = np.split(parameters, 2)
        std = np.exp(np.clip(log_variance, *_LOG_VARIANCE) / 2)
        return Posterior(mean * self._scaling_factor, std * self._scaling_factor)

    def _pixels(self, latents: slice) -> slice:
        return slice(latents.start * self._factor, latents.stop * self._factor)

    @cached_property
    def _engine(self) -> Engine:
        return self._open_encoder()

    def _parameters(self, sample: FloatArray) -> FloatArray:
        """Run the encoder: (2 * channels, height/8, width/8) float32."""
        _, height, width = sample.shape
        engine = self._engine
        (spec,) = engine.outputs
        channels = int(spec.shape[1])
        shape = (1, channels, height // self._factor, width // self._factor)
        pixels = np.ascontiguousarray(sample[None], dtype_of(engine, "sample"))
        parameters: Array = np.empty(shape, spec.dtype)
        self.clock.run(engine.bind({"sample": pixels, spec.name: parameters}))
        return parameters[0].astype(np.float32)
