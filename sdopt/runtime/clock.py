"""How long engines ran: what is left of a request's time is our own overhead."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sdopt.runtime.ports import Call


@dataclass(slots=True)
class EngineClock:
    """Runs calls and adds up how long they took.

    Attributes:
        seconds: Spent inside calls so far.
    """

    seconds: float = 0.0

    def run(self, call: Call) -> None:
        """Run a call and add its time; a call that raises is counted too."""
        begin = time.perf_counter()
        try:
            call()
        finally:
            self.seconds += time.perf_counter() - begin
