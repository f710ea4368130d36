"""A picture in the making, looked at: what the UNet is shown, and what it makes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from sdopt.runtime.ports import FloatArray
from sdopt.runtime.request import GenerationRequest
from sdopt.runtime.schedulers import Plan

if TYPE_CHECKING:
    from sdopt.runtime.image_generator import ImageGenerator


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One evaluation of the UNet.

    Attributes:
        stage: Which one of its plan, from 0.
        timestep: What the UNet was told.
        sigma: Noise scale over signal scale, dimensionless.
        latents: (channels, height/8, width/8) float32, x_t before it, at the scale at which signal
            and noise together have the variance of the signal, whatever the scheduler's own is.
        denoised: Of the same shape, predicted x0 in scaled-latent units.
    """

    stage: int
    timestep: float
    sigma: float
    latents: FloatArray
    denoised: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What was seen of a picture in the making.

    Attributes:
        moments: One for each evaluation.
        latents: (channels, height/8, width/8) float32, as they stood at the end, in the scheduler's
            own scale; after the last evaluation they are the picture's.
    """

    moments: tuple[Moment, ...]
    latents: FloatArray


def trace(
    generator: ImageGenerator, request: GenerationRequest, stages: int | None = None
) -> Trace:
    """Carry a request for one picture out in the denoising loop, and keep what is seen there.

    Args:
        generator: Of the pipeline that made the request.
        request: For one picture, in one pass.
        stages: How many evaluations to carry out; None for all.

    Raises:
        EngineError: A component failed.
    """
    (row_request,) = generator.rows(request)
    loop = generator.loop(generator.latent_shape(request), len(row_request.prompt_embeds))
    wanted = request.plan.stages if stages is None else stages
    latents: list[FloatArray] = []
    denoised: list[FloatArray] = []
    row = loop.admit(row_request)
    try:
        while len(denoised) < wanted:  # a device reports a step after the next one has begun
            latents.append(row.latents)
            report = loop.step(previews=(row,))
            for _, error in report.failed:
                raise error
            denoised += [preview.denoised for preview in report.previews]
    finally:
        loop.cancel(row)
    seen = enumerate(zip(latents, denoised, strict=False))
    moments = (_moment(request.plan, stage, *both) for stage, both in islice(seen, wanted))
    return Trace(moments=tuple(moments), latents=row.latents)


def _moment(plan: Plan, stage: int, latents: FloatArray, denoised: FloatArray) -> Moment:
    return Moment(
        stage=stage,
        timestep=float(plan.timesteps[stage]),
        sigma=float(plan.sigmas[stage]),
        latents=latents * np.float32(_common_scale(plan, stage)),
        denoised=denoised,
    )


def _common_scale(plan: Plan, stage: int) -> float:
    """Return what takes latents from the scheduler's own scale to one that keeps the variance.

    There the noise has the scale sin(atan(sigma)) beside a signal of cos(atan(sigma)).
    """
    noise_scale = plan.start[1] if stage == 0 else plan.renoise[stage - 1, 1]
    return math.sin(math.atan(plan.sigmas[stage])) / float(noise_scale)
