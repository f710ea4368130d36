"""The latents of one row on the host, and what its plan says comes next, in NumPy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sdopt.runtime.ports import FloatArray
from sdopt.runtime.row import RowRequest
from sdopt.runtime.row_start import draw_start


class HostRow:
    """A row's latents, its solver's history, and the arithmetic of its plan.

    The reference for what the loop graphs do on a device.

    Attributes:
        unet_condition: See :class:`sdopt.runtime.row_start.RowStart`.
    """

    def __init__(self, request: RowRequest, latent_shape: tuple[int, int, int]) -> None:
        plan = request.plan
        self._request, self._shape = request, latent_shape
        self._inputs = plan.inputs.astype(np.float32)
        self._updates = plan.updates.astype(np.float32)
        # One stack of latents: the K state rows, then the model output, then the noise. What a
        # plan multiplies by zero must be finite too, so all of it starts at zero.
        rows, size = plan.state_rows, math.prod(latent_shape)
        self._stack = np.zeros((rows + 2, size), np.float32)
        self._state = self._stack[:rows]
        self._next_state = np.empty_like(self._state)
        self._model_output = self._stack[rows].reshape(latent_shape)
        self._noise = self._stack[rows + 1].reshape(1, *latent_shape)
        self._unet_input = np.empty(size, np.float32)
        start = draw_start(request, latent_shape)
        self._first_latents()[...] = start.latents
        self._known, self.unet_condition = start.known, start.unet_condition

    @property
    def latents(self) -> FloatArray:
        """The latents as they stand, (channels, height/8, width/8) float32; a new array."""
        return self._first_latents().copy()

    def write_sample(self, stage: int, sample: NDArray[np.floating]) -> None:
        """Write the UNet's input of a stage into ``sample``, (channels, height/8, width/8)."""
        np.matmul(self._inputs[stage], self._state, out=self._unet_input)
        np.copyto(sample, self._unet_input.reshape(self._shape), casting="same_kind")

    def guide(self, cond: NDArray[np.floating], uncond: NDArray[np.floating] | None) -> None:
        """Combine the UNet's answers, each (channels, height/8, width/8), into the model output."""
        output = self._model_output
        if uncond is None:
            np.copyto(output, cond, casting="same_kind")
            return
        np.subtract(cond, uncond, out=output, dtype=np.float32)
        output *= np.float32(self._request.guidance_scale)
        output += uncond

    def denoised(self, stage: int) -> FloatArray:
        """Predict the finished latents from the model output of this stage, before ``advance``.

        Returns:
            (channels, height/8, width/8) float32 in scaled-latent units; a new array.
        """
        weights = self._request.plan.denoised[stage].astype(np.float32)
        return (weights @ self._stack[:-1]).reshape(self._shape)

    def advance(self, stage: int) -> None:
        """Apply the plan's row of this stage to state, model output and fresh noise."""
        plan = self._request.plan
        if plan.noisy[stage]:
            self._request.noise.fill(self._noise)
        np.matmul(self._updates[stage], self._stack, out=self._next_state)
        self._state[:] = self._next_state
        if self._known is not None:
            image_scale, noise_scale = plan.renoise[stage].tolist()
            self._known.blend(self._first_latents(), (image_scale, noise_scale))

    def latents_sum(self) -> np.float32:
        """Return the sum of the latents: finite unless one of them is NaN or infinite."""
        return self._stack[0].sum()

    def _first_latents(self) -> FloatArray:
        return self._stack[0].reshape(self._shape)
