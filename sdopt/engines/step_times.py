"""How long a UNet takes for so many rows, as measured here, and the best way to cut up a batch."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

_WORTH_IT = 0.9
"""A batch is cut or filled up only where that takes at most so much of its own time."""

_ROUNDS = 4

Timed = Callable[[int], float]
"""Runs the UNet once on so many rows, and returns the seconds that it took."""


@dataclass(frozen=True, slots=True)
class StepTimes:
    """A UNet's times for rows of one shape.

    Attributes:
        seconds: Of a call, by its number of rows; not empty.
    """

    seconds: Mapping[int, float]

    def of(self, rows: int) -> float:
        """Return the seconds of a call.

        Between two numbers that were measured times lie on a line; beyond them a row costs what
        it costs in the nearest one.
        """
        if rows in self.seconds:
            return self.seconds[rows]
        known = sorted(self.seconds)
        place = bisect_left(known, rows)
        if place in (0, len(known)):
            nearest = known[0] if place == 0 else known[-1]
            return self.seconds[nearest] * rows / nearest
        low, high = known[place - 1], known[place]
        share = (rows - low) / (high - low)
        return (1 - share) * self.seconds[low] + share * self.seconds[high]

    def parts(self, rows: int, most: int | None = None) -> tuple[int, ...]:
        """Return how many rows each call for a batch is to have, the largest first.

        That is one call of just these rows, unless calls of measured sizes are faster by a
        tenth and more. The last may have more rows than are left: a bucket that is filled up.

        Args:
            rows: Of the batch.
            most: A call may have no more; None for as many as there are.
        """
        seconds, parts = _fastest(self, rows)
        fits = most is None or rows <= most
        return (rows,) if fits and seconds > _WORTH_IT * self.of(rows) else parts


@cache
def _cheapest(times: tuple[tuple[int, float], ...], rows: int) -> tuple[float, tuple[int, ...]]:
    """Cover so many rows by calls of measured sizes, in the least time, and then in the fewest."""
    if rows <= 0:
        return 0.0, ()
    ways = []
    for size, seconds in times:
        rest, parts = _cheapest(times, rows - size)
        ways.append((seconds + rest, (size, *parts)))
    return min(ways, key=lambda way: (way[0], len(way[1])))


def _fastest(times: StepTimes, rows: int) -> tuple[float, tuple[int, ...]]:
    seconds, parts = _cheapest(tuple(sorted(times.seconds.items())), rows)
    return seconds, tuple(sorted(parts, reverse=True))


def measure_steps(
    timed: Timed, most: int, budget_s: float, clock: Callable[[], float] = time.monotonic
) -> StepTimes:
    """Time calls of different numbers of rows.

    Powers of two come first, and then the numbers between. Each is run once unmeasured, in which
    backends compile and allocate. Then all are timed in turn, four rounds of them, and count with
    their least time: whatever else the machine does for a second hits every number alike.

    Args:
        timed: What to time.
        most: The largest number of rows.
        budget_s: Seconds. A number is begun only if, by what a row took so far, it ends within half
            of them; one row is always measured.
        clock: Seconds.
    """
    begin = clock()
    seconds: dict[int, float] = {}
    for rows in _order(most):
        expected = 2 * StepTimes(seconds).of(rows) if seconds else 0.0
        if seconds and clock() - begin + expected > budget_s / 2:
            break
        timed(rows)
        seconds[rows] = timed(rows)
    for rows in (_ROUNDS - 1) * list(seconds):
        if clock() - begin + seconds[rows] > budget_s:
            break
        seconds[rows] = min(seconds[rows], timed(rows))
    return StepTimes(dict(sorted(seconds.items())))


def _order(most: int) -> Iterator[int]:
    powers = [2**power for power in range(most.bit_length()) if 2**power <= most]
    first = [*powers, *([most] if most not in powers else [])]
    return iter([*first, *(rows for rows in range(1, most + 1) if rows not in first)])
