"""From an order to the rows that make its pictures: what is done on the encoding thread."""

from __future__ import annotations

from sdopt.runtime.enlarging import Enlarged
from sdopt.runtime.row import RowRequest
from sdopt.serve.batcher import GroupKey, QueuedRow, Seat
from sdopt.serve.job import Job


def first_rows(job: Job) -> list[QueuedRow]:
    """Encode a job's prompts, and its picture if it starts from one; a row for each picture.

    Raises:
        EngineExecutionError: A text encoder or the VAE's encoder failed.
    """
    rows = job.claim.pipeline.result().generator.rows(job.order.request)
    return [_queued(Seat(job, index), row) for index, row in enumerate(rows)]


def second_rows(first: Seat, enlarged: Enlarged) -> list[QueuedRow]:
    """Return the row, one, that goes on with what a first pass left.

    Args:
        first: Whose picture it is.
        enlarged: Its latents, or its picture, at the size of the second pass.

    Raises:
        EngineExecutionError: A text encoder or the VAE's encoder failed.
    """
    second = first.job.order.request.second
    assert second is not None
    generator = first.job.claim.pipeline.result().generator
    row = generator.enlarged_row(second, first.index, enlarged)
    return [_queued(Seat(first.job, first.index, first.number + 1), row)]


def _queued(seat: Seat, row: RowRequest) -> QueuedRow:
    shape = seat.job.claim.pipeline.result().generator.latent_shape(seat.request)
    return QueuedRow(seat, GroupKey(seat.job.order.model, shape, len(row.prompt_embeds)), row)
