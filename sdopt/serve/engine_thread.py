"""The one thread that owns the denoising loops, and steps them while there are rows."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Protocol

from sdopt.errors import EngineError, QueueTimeoutError, RunTimeoutError, SdoptError
from sdopt.serve.batcher import Batcher, Outcome, QueuedRow
from sdopt.serve.job import Job
from sdopt.serve.limits import Limits

_log = logging.getLogger(__name__)


class Steps(Protocol):
    """Who hears what the engine thread does; called on that thread, and expected to be quick."""

    def stepped(self, outcome: Outcome, seconds: float) -> None:
        """One evaluation of one group was done."""

    def started(self, job: Job) -> None:
        """A job got its first row."""

    def lost(self, job: Job, error: SdoptError) -> None:
        """A job was given up."""

    def stopped(self, error: SdoptError) -> None:
        """The engine thread has failed, and nothing will come of any job."""

    def retry_after_s(self) -> float:
        """Return what a job that waited in vain is told."""
        ...


class EngineThread:
    """Runs a batcher. Other threads only put messages into its inbox.

    Attributes:
        last_step_s: When the last step ended, on the monotonic clock.
        rows: How many rows run.
    """

    def __init__(self, batcher: Batcher, limits: Limits, steps: Steps) -> None:
        self._batcher, self._limits, self._steps = batcher, limits, steps
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="sdopt-engine", daemon=True)
        self.last_step_s = time.monotonic()
        self.rows = 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def add(self, job: Job, rows: Sequence[QueuedRow]) -> None:
        """Hand in a job whose prompts are encoded."""
        self._inbox.put(lambda: None if job.settled else self._batcher.add(job, rows))

    def call(self, action: Callable[[Batcher], None]) -> None:
        """Do something with the batcher between two steps."""
        self._inbox.put(lambda: action(self._batcher))

    def stop(self) -> None:
        """End the thread after the messages that came before, and wait for it."""
        self._inbox.put(None)
        if self.alive:
            self._thread.join()

    def _run(self) -> None:
        try:
            while self._read_inbox():
                self._expire(time.monotonic())
                for job in self._batcher.admit():
                    job.started_s = time.monotonic()
                    self._steps.started(job)
                for ahead, job in enumerate(self._batcher.waiting):
                    job.wait_behind(ahead)
                self._step()
        except Exception as error:  # noqa: BLE001 - logged, and told to every request
            # A fault of our own: better every request is told, than that one waits for ever.
            _log.exception("The engine thread has stopped")
            self._steps.stopped(EngineError(f"The server has failed: {type(error).__name__}"))

    def _read_inbox(self) -> bool:
        """Do what the messages say, waiting for one if there are no rows; False to end."""
        while True:
            try:
                message = self._inbox.get(block=not self._batcher.jobs)
            except Empty:
                return True
            if message is None:
                return False
            message()
            self.rows = self._batcher.rows

    def _step(self) -> None:
        begin = time.perf_counter()
        outcome = self._batcher.step()
        self.rows = self._batcher.rows
        self.last_step_s = time.monotonic()
        if outcome is not None:
            self._steps.stepped(outcome, time.perf_counter() - begin)

    def _expire(self, now: float) -> None:
        for job in self._batcher.jobs:
            if (error := self._overdue(job, now)) is not None:
                self._batcher.drop(job)
                self._steps.lost(job, error)

    def _overdue(self, job: Job, now: float) -> SdoptError | None:
        limits = self._limits
        if job.started_s is None:
            late = now - job.created_s > limits.queue_timeout_s
            retry_after_s = self._steps.retry_after_s()
            return QueueTimeoutError(limits.queue_timeout_s, retry_after_s) if late else None
        late = now - job.started_s > limits.run_timeout_s
        return RunTimeoutError(limits.run_timeout_s) if late else None
