"""A worker process of exports that goes on to the next job.

Importing torch is most of what exporting a tiny model costs. Tests of what an export writes use
this in place of a process per job (the fixture `warm_exports`); those of the processes do not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sdopt.export.jobs import Job
from sdopt.export.workers import ENVIRONMENT
from sdopt.workers.failures import rebuilt


class WarmWorker:
    """Does jobs one after the other, in one process that is started for the first."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    @contextmanager
    def running(self, jobs: Sequence[Job]) -> Iterator[Iterator[dict[str, Any]]]:
        """Stand for :func:`sdopt.export.workers.running`."""
        yield (message for job in jobs for message in self._done(job))

    def do(self, job: Job) -> None:
        """Do one job, whatever it says of its progress."""
        for _ in self._done(job):
            pass

    def _done(self, job: Job) -> Iterator[dict[str, Any]]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(job.to_json(), file=self._process.stdin, flush=True)
        failed = None
        for line in self._process.stdout:
            message = json.loads(line)
            if message == "done":
                break
            if "failure" in message:
                failed = message["failure"]
            else:
                yield message
        else:
            raise AssertionError("the worker ended")
        if failed is not None:
            raise rebuilt(failed)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate()


def main() -> None:
    """Do jobs until there are no more."""
    from sdopt.export.worker import work

    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries may write there
    for job in sys.stdin:
        work(job, out)
        print(json.dumps("done"), file=out, flush=True)


if __name__ == "__main__":
    main()
