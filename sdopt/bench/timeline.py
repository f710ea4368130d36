"""Which part of a picture's time belongs to which stage.

Engine calls are stamped as they begin and end, and so is what the benchmark does itself (checking
the request, writing PNG files). What lies between two of them belongs to a stage too, and which one
follows from what came before and after: between two UNet calls it is the scheduler. A gap that the
table does not know belongs to none, so it makes the sum of the stages fall short of the wall time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

from sdopt.runtime.clock import EngineClock
from sdopt.runtime.ports import Mark

STAGES = {
    "request": "checks of the request, and compiling the scheduler's plan",
    "tokenizer": "prompts to tokens, and weighing what was encoded",
    "text_encoder": "calls of the text encoders",
    "vae_encoder": "calls of the VAE's encoder",
    "unet_first": "the first call of the UNet",
    "unet_rest": "all its other calls",
    "scheduler": "start noise, guidance, the plan's arithmetic, and bookkeeping between UNet calls",
    "vae_decoder": "calls of the VAE's decoder",
    "pixels": "decoded values to 8-bit pixels",
    "png": "encoding PNG files in memory",
}
"""Every stage by name, with what it holds."""

_GAPS = {
    ("request", "text_encoder"): "tokenizer",
    ("text_encoder", "text_encoder"): "tokenizer",
    ("request", "unet"): "scheduler",  # every prompt was kept from an earlier request
    ("text_encoder", "unet"): "scheduler",
    ("unet", "unet"): "scheduler",
    ("unet", "vae_decoder"): "scheduler",
    ("vae_decoder", "vae_decoder"): "pixels",
    ("vae_decoder", "unet"): "pixels",
    ("vae_decoder", "png"): "pixels",
}


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took from ``begin_s`` to ``end_s``, on one clock.

    Attributes:
        name: What it was.
        begin_s: In seconds.
        end_s: In seconds.
        waiting: Whether it was a wait for a call that a device had been given before.
    """

    name: str
    begin_s: float
    end_s: float
    waiting: bool = False

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end_s - self.begin_s


class Timeline:
    """Collects spans of engine calls and of blocks, and the marks of calls on a device.

    Attributes:
        spans: By the host's clock, in the order of their ends.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.spans: list[Span] = []
        self._marks: dict[str, list[tuple[Mark, Mark]]] = {}

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Stamp a block."""
        begin = self._clock()
        yield
        self.spans.append(Span(name, begin, self._clock()))

    @contextmanager
    def listening(self, clocks: Mapping[str, EngineClock]) -> Iterator[None]:
        """Stamp every engine call within a block."""
        for name, clock in clocks.items():
            clock.listener = _Listener(name, self.spans, self._marks.setdefault(name, []))
        try:
            yield
        finally:
            for clock in clocks.values():
                clock.listener = None

    def device_calls(self, name: str) -> tuple[float, ...]:
        """Wait for a network's calls on a device, and return how long each took there, in seconds.

        Empty for a network whose calls the host waits for itself.
        """
        return tuple(end.seconds_since(begin) for begin, end in self._marks.get(name, ()))


@dataclass(frozen=True, slots=True)
class _Listener:
    """Writes down a network's calls. See :class:`sdopt.runtime.clock.Listener`."""

    name: str
    spans: list[Span]
    marks: list[tuple[Mark, Mark]]

    def ran(self, begin_s: float, end_s: float, waiting: bool) -> None:
        self.spans.append(Span(self.name, begin_s, end_s, waiting))

    def submitted(self, begin: Mark, end: Mark) -> None:
        self.marks.append((begin, end))


def stage_seconds(spans: Sequence[Span], calls: Sequence[float] = ()) -> dict[str, float]:
    """Sum spans, and the gaps between them, up by stage.

    Args:
        spans: Of one request, in the order of time.
        calls: How long each UNet call took on a device, in seconds. There the host waits for one
            call while the next one is submitted, so its own clock knows their sum alone: this says
            which share the first one has.

    Returns:
        Seconds by name in :data:`STAGES`, for all that occurred.
    """
    seconds: dict[str, float] = {}

    def add(stage: str, amount: float) -> None:
        seconds[stage] = seconds.get(stage, 0.0) + amount

    for before, span in pairwise(spans):
        if (gap := _GAPS.get((before.name, span.name))) is not None:
            add(gap, span.begin_s - before.end_s)
    for span in spans:
        if span.name != "unet":
            add(span.name, span.seconds)
    by_host = unet_calls(spans)
    scale = sum(by_host) / sum(calls) if calls else 1.0
    for number, call_s in enumerate(calls or by_host):
        add("unet_rest" if number else "unet_first", call_s * scale)
    return {stage: seconds[stage] for stage in STAGES if stage in seconds}


def unet_calls(spans: Sequence[Span]) -> tuple[float, ...]:
    """Return the duration of each UNet call by the host's clock, in seconds.

    A device returns from a call at once, and is waited for later: the waits up to the next call
    count to it.
    """
    calls: list[float] = []
    for span in spans:
        if span.name == "unet":
            if span.waiting and calls:
                calls[-1] += span.seconds
            else:
                calls.append(span.seconds)
    return tuple(calls)
