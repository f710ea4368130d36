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
from functools import partial
from itertools import pairwise

from sdopt.runtime.clock import EngineClock, Listener

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
    """Collects spans, of engine calls and of blocks."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.spans: list[Span] = []

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
            clock.listener = self._listener(name)
        try:
            yield
        finally:
            for clock in clocks.values():
                clock.listener = None

    def _listener(self, name: str) -> Listener:
        return partial(self._add, name)

    def _add(self, name: str, begin_s: float, end_s: float, waiting: bool) -> None:
        self.spans.append(Span(name, begin_s, end_s, waiting))


def stage_seconds(spans: Sequence[Span]) -> dict[str, float]:
    """Sum spans, and the gaps between them, up by stage.

    Args:
        spans: Of one request, in the order of time.

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
    for number, call_s in enumerate(unet_calls(spans)):
        add("unet_rest" if number else "unet_first", call_s)
    return {stage: seconds[stage] for stage in STAGES if stage in seconds}


def unet_calls(spans: Sequence[Span]) -> tuple[float, ...]:
    """Return the duration of each UNet call, in seconds.

    A device returns from a call at once, and is waited for later: a call's duration is its own
    span and the waits up to the next call.
    """
    calls: list[float] = []
    for span in spans:
        if span.name == "unet":
            if span.waiting and calls:
                calls[-1] += span.seconds
            else:
                calls.append(span.seconds)
    return tuple(calls)
