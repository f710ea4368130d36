"""From a row's latents to a picture file, and to previews: what is done off the step path."""

from __future__ import annotations

import time

from sdopt.runtime.enlarging import Enlarged
from sdopt.runtime.image_generator import ImageGenerator
from sdopt.runtime.ports import FloatArray
from sdopt.serve.batcher import Seat
from sdopt.serve.infotext import infotext
from sdopt.serve.job import Picture, Preview
from sdopt.serve.meters import Meters
from sdopt.serve.picture_files import picture_file, preview_file


def enlarged(seat: Seat, latents: FloatArray, meters: Meters) -> Enlarged:
    """Enlarge what a first pass left, by way of the VAE's decoder where a picture is enlarged.

    Args:
        seat: Whose picture it is.
        latents: (channels, height/8, width/8) float32.
        meters: Count the time.

    Raises:
        EngineExecutionError: The VAE failed.
    """
    second = seat.job.order.request.second
    assert second is not None
    with meters.timed("enlarge"):
        return _generator(seat).enlarged(second, latents)


def finished_picture(seat: Seat, latents: FloatArray, meters: Meters) -> Picture:
    """Decode and write one picture.

    Args:
        seat: Whose picture it is.
        latents: (channels, height/8, width/8) float32.
        meters: Count the time.

    Raises:
        EngineExecutionError: The VAE failed.
    """
    order = seat.job.order
    with meters.timed("decode"):
        image = order.request.finish(_generator(seat).picture(latents))
    settings = order.request.settings(seat.index) | {"model": order.model}
    with meters.timed("write"):
        texts = {"parameters": infotext(settings)}
        return Picture(picture_file(image, order.format, settings, texts), settings)


def preview(seat: Seat, stage: int, denoised: FloatArray, meters: Meters) -> Preview:
    """Approximate the picture that a row will give.

    Args:
        seat: Whose picture it is.
        stage: How many evaluations of its pass are done.
        denoised: The predicted finished latents, (channels, height/8, width/8) float32.
        meters: Count the time to a job's first one.
    """
    order, last = seat.job.order, seat.job.order.passes[-1]
    png = preview_file(_generator(seat).preview(denoised), last.width, last.height)
    number = order.preview_stages.index(seat.evaluation(stage))
    if not seat.job.previewed:
        seat.job.previewed = True
        meters.first_partial.observe(time.monotonic() - seat.job.created_s)
    return Preview(seat.index, number, png)


def _generator(seat: Seat) -> ImageGenerator:
    return seat.job.claim.pipeline.result().generator
