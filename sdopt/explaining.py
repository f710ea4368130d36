"""What Stable Diffusion does to one picture, step by step: ``sdopt explain`` as a Python call."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack, cast

import numpy as np
from PIL import Image, ImageOps

from sdopt.errors import InvalidValueError
from sdopt.pipeline import Pipeline, load
from sdopt.runtime.images import psnr_db
from sdopt.runtime.input_picture import open_picture
from sdopt.runtime.ports import FloatArray
from sdopt.runtime.request import GenerationRequest
from sdopt.runtime.request_options import RequestOptions
from sdopt.runtime.schedulers import find_scheduler
from sdopt.runtime.trace import Moment, Trace, trace

COLUMNS = 6
"""How many noise levels, and how many moments of a generation, are shown."""

Report = Callable[[str, float], None]


class ExplainOptions(TypedDict, total=False):
    """What can be said beside picture and prompt; as for a pipeline, with its defaults.

    Attributes:
        negative_prompt: What no picture shall show.
        num_inference_steps: Of the generation; the noise levels are steps of its schedule.
        scheduler: A public name or a diffusers class name.
        guidance_scale: At least 0; 1 and below switch guidance off.
        height: To crop and resize the picture to, in pixels, together with ``width``.
        width: In pixels, together with ``height``.
    """

    negative_prompt: str | None
    num_inference_steps: int
    scheduler: str | None
    guidance_scale: float
    height: int | None
    width: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One evaluation of the UNet, in pictures.

    Attributes:
        moment: In numbers.
        share: Of the schedule that is still to come: the ``strength`` of image to image that begins
            here.
        noisy: x_t, decoded.
        predicted: Predicted x0, decoded.
        psnr_db: Between ``predicted`` and what it should become, in decibels: the picture as the
            autoencoder gives it back, or the finished generation. None where they are the same.
    """

    moment: Moment
    share: float
    noisy: Image.Image
    predicted: Image.Image
    psnr_db: float | None

    def figures(self) -> dict[str, float | int | None]:
        """Return its numbers as JSON data; null for what is infinite."""
        sigma = self.moment.sigma
        return {
            "stage": self.moment.stage,
            "timestep": self.moment.timestep,
            "share": self.share,
            "sigma": sigma if math.isfinite(sigma) else None,
            "psnr_db": self.psnr_db,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What Stable Diffusion does to a picture, and how it makes one.

    Attributes:
        picture: What was given, cropped and resized to the size that is worked at.
        latents: (channels, height/8, width/8) float32, what the encoder makes of it (its mean).
        reconstruction: What the decoder makes of those.
        psnr_db: Between both pictures, in decibels; None where they are the same.
        noised: The picture with noise at steps of the schedule, the most first, and what the UNet
            predicts from each alone.
        generation: A picture made from the prompt and noise, at moments from first to last.
        finished: What becomes of it.
        evaluations: Of the UNet that the generation took.
        settings: What was asked for, as JSON data.
    """

    picture: Image.Image
    latents: FloatArray
    reconstruction: Image.Image
    psnr_db: float | None
    noised: tuple[Look, ...]
    generation: tuple[Look, ...]
    finished: Image.Image
    evaluations: int
    settings: Mapping[str, object]

    def figures(self) -> dict[str, object]:
        """Return all numbers as JSON data."""
        channels = [
            {name: float(getattr(channel, name)()) for name in ("min", "max", "mean", "std")}
            for channel in self.latents
        ]
        return {
            "settings": dict(self.settings),
            "picture_numbers": 3 * self.picture.width * self.picture.height,
            "latent_numbers": self.latents.size,
            "latent_channels": channels,
            "reconstruction_psnr_db": self.psnr_db,
            "noised": [look.figures() for look in self.noised],
            "generation": [look.figures() for look in self.generation],
        }


def explain(
    image: str | Path | Image.Image,
    prompt: str = "",
    *,
    pipeline: Pipeline | None = None,
    seed: int = 0,
    progress: Report | None = None,
    **options: Unpack[ExplainOptions],
) -> Explanation:
    """Show what Stable Diffusion does, on one picture.

    Args:
        image: A path or a PIL image; cropped at its centre and resized to the size asked for, or
            the bundle's own.
        prompt: What the UNet is told, and what the generation shall show.
        pipeline: What to look into, without a refiner; the carried model where None.
        seed: Of all noise.
        progress: Called with what is being done and the share that is done, 0 to 1.
        **options: See :class:`ExplainOptions`.

    Raises:
        RequestError: The image is no picture, a value is not allowed, or the model makes no
            pictures from prompts alone, or by two passes.
        EngineError: A component failed.
    """
    pipeline = pipeline or load("shapes")
    if pipeline.refiner is not None:
        raise InvalidValueError("pipeline.refiner", pipeline.refiner.bundle.path.name, "None")
    report = progress or (lambda _, __: None)
    asked = cast("RequestOptions", {**options, "seed": seed})
    request = pipeline.request(prompt, **asked)
    report("Encoding", 0.0)
    picture = _fitted(open_picture("image", image), request)
    latents = pipeline.vae.encode(picture)
    reconstruction = _decode(pipeline, latents)
    noised = _noised(pipeline, prompt, asked, latents)
    looked = _looks(pipeline, noised, reconstruction, lambda share: report("Looking", share / 2))
    run = trace(pipeline.generator, request)
    finished = _decode(pipeline, run.latents)
    made = _looks(pipeline, _chosen(run), finished, lambda share: report("Making", 0.5 + share / 2))
    return Explanation(
        picture=picture,
        latents=latents,
        reconstruction=reconstruction,
        psnr_db=_psnr_db(picture, reconstruction),
        noised=looked,
        generation=made,
        finished=finished,
        evaluations=len(run.moments),
        settings=request.settings(0),
    )


def _fitted(image: Image.Image, request: GenerationRequest) -> Image.Image:
    """Crop and resize a picture to a request's size."""
    return ImageOps.fit(image.convert("RGB"), (request.width, request.height))


def _noised(
    pipeline: Pipeline, prompt: str, options: RequestOptions, latents: FloatArray
) -> list[tuple[Moment, float]]:
    """Let the UNet look once at latents with noise, as image to image begins, the most first."""
    request = pipeline.request(prompt, **options)
    steps = request.num_inference_steps
    seen: list[tuple[Moment, float]] = []
    for skipped in _spread(steps):
        own = {name: x for name, x in options.items() if name != "num_inference_steps"}
        given = {**own, **_beginning(pipeline, request, skipped), "image": latents}
        begun = pipeline.request(prompt, **cast("RequestOptions", given))
        (moment,) = trace(pipeline.generator, begun, stages=1).moments
        seen.append((moment, (steps - skipped) / steps))
    return seen


def _beginning(pipeline: Pipeline, request: GenerationRequest, skipped: int) -> RequestOptions:
    """Return what lets image to image begin after the first steps of a request's schedule."""
    plan, steps = request.plan, request.num_inference_steps
    if pipeline.bundle.family.strength_shortens and find_scheduler(plan.name).spec.distilled:
        # Here strength would move all steps. There is one evaluation for each.
        return {"strength": 1.0, "timesteps": [int(t) for t in plan.timesteps[skipped:]]}
    # A little more, because steps * strength is cut to a whole number.
    strength = math.nextafter((steps - skipped) / steps, 2)
    return {"strength": min(strength, 1.0), "num_inference_steps": steps}


def _chosen(run: Trace) -> list[tuple[Moment, float]]:
    """Choose moments of a generation, each with the share of its evaluations to come."""
    count = len(run.moments)
    return [(run.moments[index], 1 - index / count) for index in _spread(count)]


def _looks(
    pipeline: Pipeline,
    moments: Sequence[tuple[Moment, float]],
    goal: Image.Image,
    report: Callable[[float], None],
) -> tuple[Look, ...]:
    """Decode what is seen at moments, each with the share of the schedule that is to come."""
    looks = []
    for done, (moment, share) in enumerate(moments, start=1):
        noisy, predicted = (_decode(pipeline, x) for x in (moment.latents, moment.denoised))
        difference = _psnr_db(predicted, goal)
        looks.append(
            Look(moment=moment, share=share, noisy=noisy, predicted=predicted, psnr_db=difference)
        )
        report(done / len(moments))
    return tuple(looks)


def _spread(count: int) -> list[int]:
    """Return up to COLUMNS indices below ``count``, from the first to the last."""
    spread = np.linspace(0, count - 1, min(COLUMNS, count))
    return [int(index) for index in np.rint(spread)]


def _decode(pipeline: Pipeline, latents: FloatArray) -> Image.Image:
    return pipeline.vae.decode(latents)[0]


def _psnr_db(one: Image.Image, other: Image.Image) -> float | None:
    return psnr_db(np.asarray(one), np.asarray(other))
