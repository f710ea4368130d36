"""Worker processes, from the exporting side: started, listened to, and never left behind."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

from sdopt.errors import ExportError
from sdopt.export.jobs import Job, rebuilt

Message = Mapping[str, Any]
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
_SAME_BYTES = {"PYTHONHASHSEED": "0", "TOKENIZERS_PARALLELISM": "false"}
_TAIL_CHARACTERS = 2000


@contextmanager
def running(jobs: Sequence[Job]) -> Iterator[Iterator[Message]]:
    """Run each job in a process of its own, side by side, and give their messages as they come.

    A process per job gives all of its memory back, and a `subprocess` (rather than
    `multiprocessing`) does not run the caller's main module again. The processes are killed when
    the block is left, however it is left; if this process itself is killed, the closed pipe tells
    them to go.

    Raises:
        ExportError: A worker failed, or ended without saying why (while iterating).
        OSError: A worker could not read or write a file (while iterating).
    """
    workers: list[_Worker] = []
    try:
        for job in jobs:
            workers.append(_Worker(job))  # noqa: PERF401 (a started worker must be stopped)
        yield _messages(workers)
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    def __init__(self, job: Job) -> None:
        self.job = job
        self.log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by stop)
        environment = {
            **os.environ,
            **_OFFLINE,
            **_SAME_BYTES,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sdopt.export.launch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=environment,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(job.to_json() + "\n")
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
        raise ExportError(f"The export of {', '.join(self.job.components)} {how}. {hint}")

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
