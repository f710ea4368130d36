"""Servers in processes of their own, for measurements."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from sdopt.bench.client import Client


class Served:
    """A running server."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process, self.client = process, Client(url)

    @property
    def memory_bytes(self) -> int:
        """Resident memory of the process."""
        return psutil.Process(self.process.pid).memory_info().rss


@contextmanager
def served(max_rows: int) -> Iterator[Served]:
    """Run a server for the block, and check that it ends with 0."""
    command = [sys.executable, "-m", "sdopt", "serve", "shapes", "--port", "0"]
    command += ["--max-rows", str(max_rows)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    url = next(url_in(line) for line in process.stderr if "running on" in line)
    log = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
    process.stderr.close()
    try:
        yield Served(process, url)
    finally:
        process.terminate()  # no error where it has ended already
        assert process.wait(60) == 0
        log.wait()


def url_in(line: str) -> str:
    return str(json.loads(line)["message"].split("running on ")[1].split(" ")[0])
