"""A thread that does things for jobs, one after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sdopt.errors import EngineError, SdoptError
from sdopt.serve.job import Job

_log = logging.getLogger(__name__)


class Worker:
    """Does what it is given; whatever goes wrong there fails that job alone."""

    def __init__(self, name: str, give_up: Callable[[Job, SdoptError], None]) -> None:
        """Start the thread.

        Args:
            name: Of the thread.
            give_up: Told of a job that failed, and why.
        """
        self._pool, self._give_up = ThreadPoolExecutor(1, name), give_up

    def do(self, job: Job, action: Callable[[], None]) -> None:
        """Do something for a job, after what came before, unless the job is settled by then."""
        self._pool.submit(self._guarded, job, action)

    def close(self) -> None:
        """Do the rest, and end the thread."""
        self._pool.shutdown()

    def _guarded(self, job: Job, action: Callable[[], None]) -> None:
        if job.settled:
            return
        try:
            action()
        except SdoptError as error:
            self._give_up(job, error)
        except Exception as error:  # noqa: BLE001 - logged, and told to the sender
            _log.exception("Job %s failed", job.id)
            self._give_up(job, EngineError(f"The server failed: {type(error).__name__}"))
