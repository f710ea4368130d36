"""Worker processes, from the waiting side: started, listened to, and never left behind."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

from sdopt.errors import SdoptError
from sdopt.workers.failures import rebuilt

Message = Mapping[str, Any]
_TAIL_CHARACTERS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one worker process is started for.

    Attributes:
        entry: ``module:function``; the function takes the job and a text stream for its messages,
            and returns the process's exit status.
        job: One line of text.
        title: Of the task, to begin a sentence with, such as ``"The export of unet"``.
        error: Makes the error to raise of a text, where the worker ends without saying why.
        environment: Variables that the worker has beside this process's.
    """

    entry: str
    job: str
    title: str
    error: Callable[[str], SdoptError]
    environment: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def running(tasks: Sequence[Task]) -> Iterator[Iterator[Message]]:
    """Run each task in a process of its own, side by side, and give their messages as they come.

    A process per task gives all of its memory back, and a `subprocess` (rather than
    `multiprocessing`) does not run the caller's main module again. The processes are killed when
    the block is left, however it is left; if this process itself is killed, the closed pipe tells
    them to go.

    Raises:
        SdoptError: A worker failed, or ended without saying why (while iterating).
        OSError: A worker could not read or write a file (while iterating).
    """
    workers: list[_Worker] = []
    try:
        for task in tasks:
            workers.append(_Worker(task))  # noqa: PERF401 (a started worker must be stopped)
        yield _messages(workers)
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    def __init__(self, task: Task) -> None:
        self.task = task
        self.log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by stop)
        environment = {
            **os.environ,
            **task.environment,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        self.process = subprocess.Popen(  # noqa: S603 (this interpreter, our module)
            [sys.executable, "-m", "sdopt.workers.launch", task.entry],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=environment,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(task.job + "\n")
        self.process.stdin.flush()

    def listen(self, messages: queue.Queue[tuple[_Worker, Message | None]]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            messages.put((self, json.loads(line)))
        messages.put((self, None))

    def check(self) -> None:
        """Raise unless the process has ended well."""
        status = self.process.wait()
        if status == 0:
            return
        self.log.seek(0)
        text = self.log.read().decode(errors="replace")[-_TAIL_CHARACTERS:]
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        hint = "There may be too little memory." if status == -9 else f"Its last words:\n{text}"
        raise self.task.error(f"{self.task.title} {how}. {hint}")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                continue


def _messages(workers: Sequence[_Worker]) -> Iterator[Message]:
    messages: queue.Queue[tuple[_Worker, Message | None]] = queue.Queue()
    for worker in workers:
        threading.Thread(target=worker.listen, args=(messages,), daemon=True).start()
    open_workers = len(workers)
    while open_workers:
        worker, message = messages.get()
        if message is None:
            worker.check()
            open_workers -= 1
        elif "failure" in message:
            raise rebuilt(message["failure"])
        else:
            yield message
