"""How much work a server holds, how long it will take, and whether one more request fits."""

from __future__ import annotations

import threading

from sdopt.errors import ServerBusyError
from sdopt.runtime.request import GenerationRequest
from sdopt.serve.job import Job, row_cost
from sdopt.serve.limits import Limits

_WEIGHT = 0.1
"""Of the newest step in the moving average of the cost of work."""


class Backlog:
    """Counts the jobs that are open and their work, in UNet rows times pixels.

    Safe for use from several threads at once.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._left: dict[Job, int] = {}
        self._seconds_per_work = 0.0

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Every job that is not settled."""
        with self._lock:
            return tuple(self._left)

    @property
    def waiting(self) -> int:
        """How many jobs have no row yet."""
        return sum(job.started_s is None for job in self.jobs)

    @property
    def seconds(self) -> float:
        """How long the work that is left will take, by the steps measured so far."""
        with self._lock:
            return sum(self._left.values()) * self._seconds_per_work

    def retry_after_s(self) -> float:
        """Return when a place may be free: the time that one of the open jobs takes on average."""
        return min(max(self.seconds / max(len(self.jobs), 1), 1.0), 3600.0)

    def admit(self, job: Job) -> None:
        """Count a job in.

        Raises:
            ServerBusyError: Too many are waiting, or they are too much work.
        """
        waiting = self.waiting
        work = job.order.work
        seconds = self.seconds + work * self._seconds_per_work
        if waiting >= self._limits.max_waiting or (
            waiting and seconds > self._limits.max_backlog_s
        ):
            raise ServerBusyError(waiting, self.retry_after_s())
        with self._lock:
            self._left[job] = work

    def advance(self, job: Job, request: GenerationRequest) -> None:
        """Take one evaluation of one row, in the pass that ``request`` is, off a job's work."""
        with self._lock:
            if job in self._left:
                self._left[job] -= row_cost(request)

    def remove(self, job: Job) -> None:
        """Take a job out; one that is not here is no error."""
        with self._lock:
            self._left.pop(job, None)

    def measure(self, work: int, seconds: float) -> None:
        """Learn from a step of so much work that took so long."""
        with self._lock:
            now, before = seconds / work, self._seconds_per_work
            self._seconds_per_work = before + _WEIGHT * (now - before) if before else now
