"""How long engines ran: what is left of a request's time is our own overhead."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sdopt.runtime.ports import Call

Listener = Callable[[float, float, bool], None]
"""Is told when a call began and ended, in seconds of :func:`time.perf_counter`, and whether it was
a wait for what an earlier call had submitted."""


@dataclass(slots=True)
class EngineClock:
    """Runs calls and adds up how long they took.

    Attributes:
        seconds: Spent inside calls so far.
        listener: Is told of each call, while somebody measures.
    """

    seconds: float = 0.0
    listener: Listener | None = None

    def run(self, call: Call) -> None:
        """Run a call and add its time; a call that raises is counted too."""
        self._time(call, waiting=False)

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
                self.listener(begin, end, waiting)
