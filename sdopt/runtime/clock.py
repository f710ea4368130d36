"""How long engines ran: what is left of a request's time is our own overhead."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sdopt.runtime.ports import Call, Device, Mark


class Listener(Protocol):
    """Is told of each call while somebody measures."""

    def ran(self, begin_s: float, end_s: float, waiting: bool) -> None:
        """Take a call in, by the host's clock.

        Args:
            begin_s: In seconds of :func:`time.perf_counter`.
            end_s: Likewise.
            waiting: Whether it was a wait for what an earlier call had submitted.
        """
        ...

    def submitted(self, begin: Mark, end: Mark) -> None:
        """Take in the marks around what a call has submitted to a device."""
        ...


@dataclass(slots=True)
class EngineClock:
    """Runs calls and adds up how long they took.

    Attributes:
        seconds: Spent inside calls so far, by the host's clock.
        listener: Is told of each call, while somebody measures.
    """

    seconds: float = 0.0
    listener: Listener | None = None

    def run(self, call: Call) -> None:
        """Run a call and add its time; a call that raises is counted too."""
        self._time(call, waiting=False)

    def submit(self, call: Call, device: Device) -> None:
        """Run a call that only submits: what it takes on the device is known by marks there."""
        if self.listener is None:
            self.run(call)
            return
        begin = device.mark()
        self.run(call)
        self.listener.submitted(begin, device.mark())

    def wait(self, wait: Callable[[], object]) -> None:
        """Wait for what calls have submitted, and add the time likewise."""
        self._time(wait, waiting=True)

    def _time(self, call: Callable[[], object], *, waiting: bool) -> None:
        begin = time.perf_counter()
        try:
            call()
        finally:
            end = time.perf_counter()
            self.seconds += end - begin
            if self.listener is not None:
                self.listener.ran(begin, end, waiting)
