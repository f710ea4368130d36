"""The service: orders in, pictures out. Encoding, denoising and decoding each have a thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from sdopt.errors import (
    CancelledError,
    EngineError,
    SdoptError,
    ShuttingDownError,
    UnknownNameError,
)
from sdopt.runtime.loop import DenoisingLoop
from sdopt.runtime.ports import FloatArray
from sdopt.serve.backlog import Backlog
from sdopt.serve.batcher import Batcher, GroupKey, Outcome, QueuedRow, Seat
from sdopt.serve.engine_thread import EngineThread
from sdopt.serve.finishing import finished_picture, preview
from sdopt.serve.job import Failed, Finished, Job, Listener, Order
from sdopt.serve.limits import Limits
from sdopt.serve.meters import Meters

if TYPE_CHECKING:
    from sdopt.pipeline import Pipeline

_log = logging.getLogger(__name__)


class PictureService:
    """Runs many orders at once over the pipelines of several bundles.

    Prompts are encoded on one thread, rows are denoised on a second, pictures are decoded and
    written on a third: nobody's text encoder or PNG holds up the steps of others. Each network
    is only ever run by one thread. Safe for use from several threads at once.

    Attributes:
        models: The pipelines by name.
        limits: What the service takes on.
        backlog: The work that it holds.
        meters: What it counts.
    """

    def __init__(
        self, models: Mapping[str, Pipeline], limits: Limits, meters: Meters | None = None
    ) -> None:
        """Start the threads."""
        self.models, self.limits = dict(models), limits
        self.meters = meters or Meters()
        self.backlog = Backlog(limits)
        self._draining = threading.Event()
        self._encoding = ThreadPoolExecutor(1, "sdopt-encode")
        self._finishing = ThreadPoolExecutor(1, "sdopt-finish")
        self._engine = EngineThread(Batcher(self._new_loop, limits.max_rows), limits, self)
        self._engine.start()

    def submit(self, order: Order, listener: Listener, job_id: str | None = None) -> Job:
        """Take an order on.

        Args:
            order: Its request is checked against the limits here.
            listener: Hears of it, on the service's threads, until it has finished or failed.
            job_id: For logs; drawn if None.

        Raises:
            RequestError: The order asks for more than the service gives.
            ServerBusyError: There is too much to do already.
            ShuttingDownError: The service finishes what it has begun.
        """
        if order.model not in self.models:
            raise UnknownNameError("model", order.model, tuple(self.models))
        self.limits.check(order.request)
        self.limits.check_chunks(self.models[order.model].generator.prompt_chunks(order.request))
        if self._draining.is_set():
            self.meters.rejected.labels("shutting_down").inc()
            raise ShuttingDownError
        job = Job(order, listener, job_id)
        try:
            self.backlog.admit(job)
        except SdoptError:
            self.meters.rejected.labels("busy").inc()
            raise
        self._on(self._encoding, job, lambda: self._encode(job))
        return job

    def cancel(self, job: Job, error: SdoptError | None = None) -> None:
        """Give a job up; its rows leave at the next step. One that has ended is no error."""
        phase = "queue" if job.started_s is None else "run"
        if self._settle(job, Failed(error or CancelledError())):
            self.meters.cancelled.labels(phase).inc()
            self._engine.drop(job)

    @property
    def ready(self) -> bool:
        """Whether an order would be taken on now."""
        return (
            self._engine.alive
            and not self._draining.is_set()
            and self.backlog.waiting < self.limits.max_waiting
        )

    @property
    def alive(self) -> bool:
        """Whether the engine thread runs."""
        return self._engine.alive

    @property
    def last_step_age_s(self) -> float:
        """Seconds since the last step ended."""
        return time.monotonic() - self._engine.last_step_s

    @property
    def rows(self) -> int:
        """How many rows ran at the last step."""
        return self._engine.rows

    def drain(self, timeout_s: float) -> bool:
        """Take no more orders, and wait for those that are open.

        Returns:
            Whether all ended by themselves; those that did not are given up.
        """
        self._draining.set()
        end = time.monotonic() + timeout_s
        while self.backlog.jobs and time.monotonic() < end:
            time.sleep(0.02)
        late = self.backlog.jobs
        for job in late:
            self.cancel(job, ShuttingDownError())
        return not late

    def close(self) -> None:
        """Give every job up and end the threads."""
        self.drain(0)
        self._encoding.shutdown()
        self._engine.stop()
        self._finishing.shutdown()

    # --- on the encoding thread ---

    def _encode(self, job: Job) -> None:
        if job.settled:
            return
        parts, request = self.models[job.order.model].generator, job.order.request
        shape = parts.latent_shape(request)
        rows = [
            QueuedRow(index, GroupKey(job.order.model, shape, len(row.prompt_embeds)), row)
            for index, row in enumerate(parts.rows(request))
        ]
        self._engine.add(job, rows)

    # --- on the engine thread ---

    def _new_loop(self, key: GroupKey, max_rows: int) -> DenoisingLoop:
        parts = self.models[key.model].generator
        return parts.new_loop(key.latent_shape, key.length, max_rows)

    def started(self, job: Job) -> None:
        """Note how long a job has waited."""
        assert job.started_s is not None
        self.meters.stage("queue", job.started_s - job.created_s)

    def stepped(self, outcome: Outcome, seconds: float) -> None:
        """Pass on what a step did, and leave the work to the finishing thread."""
        _, height, width = outcome.key.latent_shape
        for seat in outcome.advanced:
            self.backlog.advance(seat.job)
            seat.job.advance()
        for job, error in outcome.failed:
            self.lost(job, error)
        if outcome.advanced:
            request = outcome.advanced[0].job.order.request
            self.backlog.measure(outcome.batch * request.height * request.width, seconds)
        self.meters.step(outcome.batch, f"{width}x{height}", seconds)
        for seat, latents in outcome.finished:
            self._on(self._finishing, seat.job, partial(self._finish, seat, latents))
        for seat, stage, shown in outcome.previews:
            self._on(self._finishing, seat.job, partial(self._preview, seat, stage, shown))

    def lost(self, job: Job, error: SdoptError) -> None:
        """Settle a job that the engine thread gave up."""
        self._settle(job, Failed(error))

    def stopped(self, error: SdoptError) -> None:
        """Fail every job, and take no more on: the engine thread is gone."""
        self._draining.set()
        for job in self.backlog.jobs:
            self._settle(job, Failed(error))

    def retry_after_s(self) -> float:
        """Return when it may be worth trying again."""
        return self.backlog.retry_after_s()

    # --- on the finishing thread ---

    def _finish(self, seat: Seat, latents: FloatArray) -> None:
        job = seat.job
        if not job.settled:
            pipeline = self.models[job.order.model]
            picture = finished_picture(pipeline, seat, latents, self.meters)
            if finished := job.keep(seat.index, picture):
                self._settle(job, finished)

    def _preview(self, seat: Seat, stage: int, denoised: FloatArray) -> None:
        if not seat.job.settled:
            pipeline = self.models[seat.job.order.model]
            seat.job.tell(preview(pipeline, seat, stage, denoised))

    # --- on any thread ---

    def _on(self, worker: ThreadPoolExecutor, job: Job, action: Callable[[], None]) -> None:
        """Do something for a job on a worker; whatever goes wrong there fails this job alone."""

        def guarded() -> None:
            try:
                action()
            except SdoptError as error:
                self._give_up(job, error)
            except Exception as error:  # noqa: BLE001 - logged, and told to the sender
                _log.exception("Job %s failed", job.id)
                self._give_up(job, EngineError(f"The server failed: {type(error).__name__}"))

        worker.submit(guarded)

    def _give_up(self, job: Job, error: SdoptError) -> None:
        if self._settle(job, Failed(error)):
            self._engine.drop(job)

    def _settle(self, job: Job, event: Finished | Failed) -> bool:
        self.backlog.remove(job)
        settled = job.settle(event)
        if settled:
            outcome = "finished" if isinstance(event, Finished) else type(event.error).__name__
            self.meters.jobs.labels(job.order.model, outcome).inc()
        return settled
