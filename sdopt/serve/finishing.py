"""From a row's latents to a picture file, and to previews: what is done off the step path."""

from __future__ import annotations

from sdopt.pipeline import Pipeline
from sdopt.runtime.ports import FloatArray
from sdopt.serve.batcher import Seat
from sdopt.serve.infotext import infotext
from sdopt.serve.job import Picture, Preview
from sdopt.serve.meters import Meters
from sdopt.serve.picture_files import picture_file, preview_file


def finished_picture(
    pipeline: Pipeline, seat: Seat, latents: FloatArray, meters: Meters
) -> Picture:
    """Decode and write one picture.

    Args:
        pipeline: Of the job's bundle.
        seat: Whose picture it is.
        latents: (channels, height/8, width/8) float32.
        meters: Count the time.

    Raises:
        EngineExecutionError: The VAE failed.
    """
    order = seat.job.order
    with meters.timed("decode"):
        image = order.request.finish(pipeline.generator.picture(latents))
    settings = order.request.settings(seat.index) | {"model": order.model}
    with meters.timed("write"):
        texts = {"parameters": infotext(settings)}
        return Picture(picture_file(image, order.format, settings, texts), settings)


def preview(pipeline: Pipeline, seat: Seat, stage: int, denoised: FloatArray) -> Preview:
    """Approximate the picture that a row will give.

    Args:
        pipeline: Of the job's bundle.
        seat: Whose picture it is.
        stage: How many evaluations are done.
        denoised: The predicted finished latents, (channels, height/8, width/8) float32.
    """
    order = seat.job.order
    png = preview_file(
        pipeline.generator.preview(denoised), order.request.width, order.request.height
    )
    return Preview(seat.index, order.preview_stages.index(stage), png)
