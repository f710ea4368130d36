"""A pipeline that can be slowed down on purpose, and what a comparison says of it."""

from __future__ import annotations

from sdopt.bench.run import ask_of
from sdopt.bench.statistics import Verdict, paired_ratio, verdict
from sdopt.bench.work import Case
from sdopt.bench.worker import measured_picture
from sdopt.engines.contract import Call
from sdopt.pipeline import Pipeline

Contender = tuple[Pipeline, "Brake | None"]
"""A pipeline, and the brake to pull while it is this side's turn."""


class Brake:
    """While it is pulled, every UNet call is made twice."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pulled = False
        unet = pipeline.generator._unet
        bind = unet.bind
        unet.bind = lambda buffers: self._braked(bind(buffers))  # type: ignore[method-assign]

    def _braked(self, call: Call) -> Call:
        def run() -> None:
            call()
            if self.pulled:
                call()

        return run


def verdict_on(side: Contender, usual: Pipeline, case: Case, rounds: int) -> Verdict:
    """Let a side and the usual one take turns, and say whether it is slower by more than 5 %."""
    pairs = []
    for number in range(rounds):
        order = (side, (usual, None)) if number % 2 else ((usual, None), side)
        walls = {turn is side: _wall_s(turn, case, f"a ring {number}") for turn in order}
        pairs.append((walls[True], walls[False]))
    return verdict(paired_ratio([pairs]), 0.05)


def _wall_s(side: Contender, case: Case, prompt: str) -> float:
    pipeline, brake = side
    if brake is not None:
        brake.pulled = True
    try:
        return float(measured_picture(pipeline, ask_of(case, prompt))["wall_s"])
    finally:
        if brake is not None:
            brake.pulled = False
