"""The worker processes of an export."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sdopt.errors import ExportError
from sdopt.export.jobs import Job
from sdopt.workers.running import Message, Task
from sdopt.workers.running import running as running_tasks

ENVIRONMENT = {
    # The checkpoint lies on this disk, whatever its id says.
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # Two exports give the same bytes.
    "PYTHONHASHSEED": "0",
    "TOKENIZERS_PARALLELISM": "false",
}
"""What workers have in theirs beside this process's variables."""


@contextmanager
def running(jobs: Sequence[Job]) -> Iterator[Iterator[Message]]:
    """Run each job in a process of its own. See :func:`sdopt.workers.running.running`.

    Raises:
        ExportError: A worker failed, or ended without saying why (while iterating).
        OSError: A worker could not read or write a file (while iterating).
    """
    with running_tasks([_task(job) for job in jobs]) as messages:
        yield messages


def _task(job: Job) -> Task:
    return Task(
        entry="sdopt.export.worker:work",
        job=job.to_json(),
        title=f"The export of {', '.join(job.components)}",
        error=ExportError,
        environment=ENVIRONMENT,
    )
