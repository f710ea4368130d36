"""One row of the denoising loop: a picture in the making, and what its plan says comes next."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sdopt.runtime.noise import NoiseStream
from sdopt.runtime.ports import FloatArray
from sdopt.runtime.row_image import KnownRegion, RowImage
from sdopt.runtime.schedulers import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRequest:
    """What a row needs to run. The loop copies what it keeps.

    Attributes:
        plan: The compiled schedule.
        noise: The picture's own stream, from its beginning: posterior of the image, start noise,
            posterior of the masked image, then the steps' noise are drawn from it in this order.
        prompt_embeds: (length, dim) float32.
        negative_prompt_embeds: (length, dim) float32, or None for a row without guidance.
        guidance_scale: ``out = uncond + guidance_scale * (cond - uncond)``, dimensionless; without
            effect where ``negative_prompt_embeds`` is None.
        image: What the row starts from; None for text to image.
        conditions: What the UNet takes beside the prompt, by name, such as ``text_embeds``; each
            (width,) float32.
        negative_conditions: The same for the row without the prompt.
    """

    plan: Plan
    noise: NoiseStream
    prompt_embeds: FloatArray
    negative_prompt_embeds: FloatArray | None = None
    guidance_scale: float = 1.0
    image: RowImage | None = None
    conditions: Mapping[str, FloatArray] = field(default_factory=dict[str, FloatArray])
    negative_conditions: Mapping[str, FloatArray] = field(default_factory=dict[str, FloatArray])


class Row:
    """A picture in the making. Made by ``DenoisingLoop.admit``; read by whoever holds it.

    All that a row computes depends on its own request and its own model outputs alone: that is
    why a picture is the same bit for bit in any company.

    Attributes:
        request: As admitted.
        stage: How many of the plan's evaluations are done.
        unet_condition: (channels, height/8, width/8) float32, what an inpainting UNet takes beside
            the latents: mask and latents of the masked picture; no channels for other UNets.
    """

    def __init__(self, request: RowRequest, latent_shape: tuple[int, int, int]) -> None:
        plan = request.plan
        self.request = request
        self.stage = 0
        self._shape = latent_shape
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
        self._known: KnownRegion | None = None
        self.unet_condition = np.empty((0, *latent_shape[1:]), np.float32)
        self._start(request.image)

    @property
    def stages(self) -> int:
        """How many evaluations of the UNet the row takes in all."""
        return self.request.plan.stages

    @property
    def finished(self) -> bool:
        """Whether every evaluation is done."""
        return self.stage == self.stages

    @property
    def guided(self) -> bool:
        """Whether the row takes a second, unconditional UNet row."""
        return self.request.negative_prompt_embeds is not None

    @property
    def latents(self) -> FloatArray:
        """The latents as they stand, (channels, height/8, width/8) float32; a new array."""
        return self._stack[0].reshape(self._shape).copy()

    @property
    def timestep(self) -> float:
        """What the UNet is told at this stage."""
        return float(self.request.plan.timesteps[self.stage])

    def write_sample(self, sample: NDArray[np.floating]) -> None:
        """Write the UNet's input of this stage into ``sample``, (channels, height/8, width/8)."""
        np.matmul(self._inputs[self.stage], self._state, out=self._unet_input)
        np.copyto(sample, self._unet_input.reshape(self._shape), casting="same_kind")

    def guide(self, cond: NDArray[np.floating], uncond: NDArray[np.floating] | None) -> None:
        """Combine the UNet's answers, each (channels, height/8, width/8), into the model output."""
        output = self._model_output
        if uncond is None:
            np.copyto(output, cond, casting="same_kind")
            return
        np.subtract(cond, uncond, out=output, dtype=np.float32)
        output *= np.float32(self.request.guidance_scale)
        output += uncond

    def denoised(self) -> FloatArray:
        """Predict the finished latents from the model output of this stage, before ``advance``.

        Returns:
            (channels, height/8, width/8) float32 in scaled-latent units; a new array.
        """
        weights = self.request.plan.denoised[self.stage].astype(np.float32)
        return (weights @ self._stack[:-1]).reshape(self._shape)

    def advance(self) -> None:
        """Apply the plan's row of this stage to state, model output and fresh noise."""
        if self.request.plan.noisy[self.stage]:
            self.request.noise.fill(self._noise)
        np.matmul(self._updates[self.stage], self._stack, out=self._next_state)
        self._state[:] = self._next_state
        if self._known is not None:
            image_scale, noise_scale = self.request.plan.renoise[self.stage].tolist()
            self._known.blend(self._first_latents(), (image_scale, noise_scale))
        self.stage += 1

    def is_finite(self) -> bool:
        """Say whether no latent is NaN or infinite."""
        return math.isfinite(float(self._stack[0].sum()))

    def _start(self, image: RowImage | None) -> None:
        image_scale, noise_scale = self.request.plan.start.astype(np.float32)
        posterior = image.posterior if image else None
        known = posterior.sample(self.request.noise) if posterior else None
        self.request.noise.fill(self._noise)
        first = self._first_latents()
        np.multiply(self._noise[0], noise_scale, out=first)
        if known is not None:
            first += image_scale * known
        if image is not None:
            self._take_mask(image, known)

    def _take_mask(self, image: RowImage, known: FloatArray | None) -> None:
        if image.masked_posterior is not None:
            masked = image.masked_posterior.sample(self.request.noise)
            if image.unet_mask is not None:
                self.unet_condition = np.concatenate([image.unet_mask[None], masked])
        if image.mask is not None and known is not None:
            self._known = KnownRegion(known, self._noise[0].copy(), image.mask)

    def _first_latents(self) -> FloatArray:
        return self._stack[0].reshape(self._shape)
