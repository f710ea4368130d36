"""Processes that are measured, seen from the one that measures."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, Any

from sdopt.errors import MeasuringError

_SHOWN_LINES = 5
_PATIENCE_S = 60

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """How a side of a measurement is started.

    Attributes:
        name: For people, such as ``"sdopt openvino bf16"``.
        command: What runs it.
        setup: What it is told first.
        environment: Of the process; None for our own.
    """

    name: str
    command: Sequence[str]
    setup: Mapping[str, Any]
    environment: Mapping[str, str] | None = field(default=None)


class RunningSide:
    """A process that makes a picture whenever it is asked to.

    Attributes:
        start: What it told about its start: ``interpreter_s`` (from the start of the process to
            its first line), ``import_s``, ``load_s``, and ``versions``.
    """

    def __init__(self, side: Side, errors: IO[bytes]) -> None:
        """Start it, and wait until it has loaded.

        Raises:
            MeasuringError: It failed.
        """
        self._name, self._errors = side.name, errors
        started_s = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 - a command that we made
            list(side.command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            env=None if side.environment is None else dict(side.environment),
        )
        try:
            self.start = self._exchange({**side.setup, "started_s": started_s})
        except BaseException:
            self.close()
            raise

    @property
    def process_id(self) -> int:
        """As the system calls it."""
        return self._process.pid

    def picture(self, ask: Mapping[str, Any]) -> Figures:
        """Ask for pictures of one prompt, and return what came of it.

        Raises:
            MeasuringError: It failed.
        """
        return self._exchange(ask)

    def close(self) -> None:
        """End the process: by the end of its input, and if it hangs, by force."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _exchange(self, message: Mapping[str, Any]) -> Figures:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it has ended already: reading tells
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        figures: Figures = json.loads(line) if line else {"error": self._last_words()}
        if "error" in figures:
            raise MeasuringError(self._name, figures["error"])
        return figures

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()[-_SHOWN_LINES:]
        return f"The process ended with exit code {code}: {' / '.join(lines)}"


@contextmanager
def running(side: Side) -> Iterator[RunningSide]:
    """Run a side for a block.

    Raises:
        MeasuringError: It cannot be started.
    """
    with tempfile.TemporaryFile() as errors:
        process = RunningSide(side, errors)
        try:
            yield process
        finally:
            process.close()


def sdopt_side(
    bundle: str,
    *,
    engine: str,
    device: str = "cpu",
    precision: str | None = None,
    threads: int | None = None,
    max_rows: int = 1,
    fixed_size: str | None = None,
) -> Side:
    """Describe sdopt's own side; for the arguments see :func:`sdopt.pipeline.load`."""
    return Side(
        name=" ".join(filter(None, ("sdopt", engine, precision, fixed_size and "fixed"))),
        command=(sys.executable, "-m", "sdopt.bench.worker"),
        setup={
            "bundle": bundle,
            "engine": engine,
            "device": device,
            "precision": precision,
            "threads": threads,
            "max_rows": max_rows,
            "fixed_size": fixed_size,
        },
    )
