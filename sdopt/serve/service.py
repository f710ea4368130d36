"""The service: orders in, pictures out. Encoding, denoising and decoding each have a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from sdopt.errors import CancelledError, SdoptError, ServerBusyError, ShuttingDownError
from sdopt.runtime.loop import DenoisingLoop
from sdopt.runtime.ports import FloatArray
from sdopt.serve.backlog import Backlog
from sdopt.serve.batcher import Batcher, GroupKey, Outcome, QueuedRow, Seat
from sdopt.serve.claims import Claim
from sdopt.serve.encoding import first_rows, second_rows
from sdopt.serve.engine_thread import EngineThread
from sdopt.serve.finishing import enlarged, finished_picture, preview
from sdopt.serve.job import Failed, Finished, Job, Listener, Order
from sdopt.serve.limits import Limits
from sdopt.serve.meters import Meters
from sdopt.serve.shelf import Shelf
from sdopt.serve.switching import ModelSwitches
from sdopt.serve.worker import Worker

if TYPE_CHECKING:
    from sdopt.pipeline import Pipeline


class PictureService:
    """Runs many orders at once over the pipelines of several bundles.

    Prompts are encoded on one thread, rows are denoised on a second, pictures are decoded and
    written on a third: nobody's text encoder or PNG holds up the steps of others. Each network
    is only ever run by one thread. Safe for use from several threads at once.

    Attributes:
        models: The bundles, of which some are loaded.
        limits: What the service takes on.
        backlog: The work that it holds.
        meters: What it counts.
    """

    def __init__(
        self, models: Mapping[str, Pipeline] | Shelf, limits: Limits, meters: Meters | None = None
    ) -> None:
        """Start the threads.

        Args:
            models: The bundles; pipelines by name are loaded ones that stay.
            limits: What to take on.
            meters: Count what is done.
        """
        self.models = models if isinstance(models, Shelf) else Shelf.of(models)
        self.limits, self.meters = limits, meters or Meters()
        self.backlog = Backlog(limits)
        self._draining = threading.Event()
        self._encoding = Worker("sdopt-encode", self.lost)
        self._finishing = Worker("sdopt-finish", self.lost)
        self._engine = EngineThread(Batcher(self._new_loop, limits.max_rows), limits, self)
        self.models.attach(ModelSwitches(self._engine, self.meters))
        self._engine.start()

    def claim(self, model: str) -> Claim:
        """Ask for a bundle, to check requests against and to submit orders for.

        Raises:
            UnknownNameError: There is none of this name.
            ServerBusyError: Too many wait already.
            ShuttingDownError: The service finishes what it has begun.
        """
        self.models.source(model)
        self._refuse_if_draining()
        if model not in self.models.loaded and self.waiting >= self.limits.max_waiting:
            self.meters.rejected.labels("busy").inc()
            raise ServerBusyError(self.waiting, self.backlog.retry_after_s())
        return self.models.claim(model)

    def submit(self, order: Order, listener: Listener, job_id: str | None = None) -> Job:
        """Take an order on.

        Args:
            order: Its request is checked against the limits here. Its bundle is claimed by the
                caller.
            listener: Hears of it, on the service's threads, until it has finished or failed.
            job_id: For logs; drawn if None.

        Raises:
            RequestError: The order asks for more than the service gives.
            ServerBusyError: There is too much to do already.
            ShuttingDownError: The service finishes what it has begun.
        """
        self.models.source(order.model)
        generator = self.models.pipeline(order.model).generator
        self.limits.check(order.request)
        self.limits.check_chunks(generator.prompt_chunks(order.request))
        self._refuse_if_draining()
        job = Job(order, listener, job_id, self.models.share(order.model))
        try:
            self.backlog.admit(job)
        except SdoptError:
            self.meters.rejected.labels("busy").inc()
            self.models.leave(job.claim)
            raise
        self._encoding.do(job, partial(self._encode, job, partial(first_rows, job)))
        return job

    def cancel(self, job: Job, error: SdoptError | None = None) -> None:
        """Give a job up; its rows leave at the next step. One that has ended is no error."""
        phase = "queue" if job.started_s is None else "run"
        if self._settle(job, Failed(error or CancelledError())):
            self.meters.cancelled.labels(phase).inc()

    @property
    def ready(self) -> bool:
        """Whether an order would be taken on now."""
        return (
            self._engine.alive
            and not self._draining.is_set()
            and self.waiting < self.limits.max_waiting
        )

    @property
    def waiting(self) -> int:
        """How many requests wait, for a row or for their bundle."""
        return self.backlog.waiting + self.models.waiting

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
        """How many rows run."""
        return self._engine.rows

    def drain(self, timeout_s: float) -> bool:
        """Take no more orders, and wait for those that are open.

        Returns:
            Whether all ended by themselves; those that did not are given up.
        """
        self._draining.set()
        self.models.refuse(ShuttingDownError())
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
        self.models.close()
        self._engine.stop()
        self._finishing.close()  # before the encoding, to which it hands second passes
        self._encoding.close()

    # --- on the encoding thread ---

    def _encode(self, job: Job, encode: Callable[[], list[QueuedRow]]) -> None:
        self._engine.add(job, encode())

    # --- on the engine thread ---

    def _new_loop(self, key: GroupKey, max_rows: int) -> DenoisingLoop:
        parts = self.models.pipeline(key.model).generator
        return parts.new_loop(key.latent_shape, key.length, max_rows)

    def _release(self, job: Job, batcher: Batcher) -> None:
        """Take a job's rows out, and only then let its bundle go."""
        batcher.drop(job)
        self.models.leave(job.claim)

    def started(self, job: Job) -> None:
        """Note how long a job has waited."""
        assert job.started_s is not None
        self.meters.stage("queue", job.started_s - job.created_s)

    def stepped(self, outcome: Outcome, seconds: float) -> None:
        """Pass on what a step did, and leave the work to the finishing thread."""
        _, height, width = outcome.key.latent_shape
        for seat in outcome.advanced:
            self.backlog.advance(seat.job, seat.request)
            seat.job.advance()
        for job, error in outcome.failed:
            self.lost(job, error)
        if outcome.advanced:
            request = outcome.advanced[0].request
            self.backlog.measure(outcome.batch * request.height * request.width, seconds)
        self.meters.step(outcome.batch, f"{width}x{height}", seconds)
        for seat, latents in outcome.finished:
            self._finishing.do(seat.job, partial(self._finish, seat, latents))
        for seat, stage, shown in outcome.previews:
            self._finishing.do(seat.job, partial(self._preview, seat, stage, shown))

    def lost(self, job: Job, error: SdoptError) -> None:
        """Settle a job that some thread gave up."""
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
        if not seat.last:
            again = enlarged(seat, latents, self.meters)
            self._encoding.do(job, partial(self._encode, job, partial(second_rows, seat, again)))
        elif finished := job.keep(seat.index, finished_picture(seat, latents, self.meters)):
            self._settle(job, finished)

    def _preview(self, seat: Seat, stage: int, denoised: FloatArray) -> None:
        seat.job.tell(preview(seat, stage, denoised, self.meters))

    # --- on any thread ---

    def _refuse_if_draining(self) -> None:
        if self._draining.is_set():
            self.meters.rejected.labels("shutting_down").inc()
            raise ShuttingDownError

    def _settle(self, job: Job, event: Finished | Failed) -> bool:
        self.backlog.remove(job)
        settled = job.settle(event)
        if settled:
            self._engine.call(partial(self._release, job))
            outcome = "finished" if isinstance(event, Finished) else type(event.error).__name__
            self.meters.jobs.labels(job.order.model, outcome).inc()
        return settled
