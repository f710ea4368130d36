"""Measurements of the same thing: which of them lie where another one said."""

from __future__ import annotations

from benchmarks.repeatability import Measurement, RepeatabilityRecord, in_turn
from sdopt.bench.environment import environment
from sdopt.bench.work import Amount, Case

WALLS = ((1.0, 1.1), (1.02, 1.0), (0.98, 1.0), (1.01, 1.0), (1.0, 1.0), (0.99, 1.01))


def test_every_other_process_belongs_to_the_other_measurement() -> None:
    assert in_turn(WALLS) == (WALLS[0::2], WALLS[1::2])
    few = ((1.0, 2.0, 3.0, 4.0), (5.0, 6.0))
    assert in_turn(few) == ([(1.0, 3.0), (5.0,)], [(2.0, 4.0), (6.0,)])


def test_a_drift_shows_between_measurements_and_not_within() -> None:
    """The machine gets slower by half each time; processes in turn do not notice."""
    drifting = [tuple(tuple(1.5**n * t for t in process) for process in WALLS) for n in range(4)]
    record = RepeatabilityRecord(
        kind="repeatability",
        format_version=1,
        made_at="2026-01-01T00:00:00Z",
        command=(),
        environment=environment(),
        subject="shapes on onnxruntime fp32 (cpu)",
        case=Case(height=64, width=64, batch=1, num_inference_steps=4, guidance_scale=3.0),
        amount=Amount(processes=6, warmups=1, runs=2),
        measurements=tuple(Measurement(walls_s=walls, unaccounted=0.001) for walls in drifting),
    )
    figures = record.figures()
    assert (figures["within_the_interval_before"], figures["pairs"]) == (0, 3)
    assert (figures["within_the_interval_of_the_other"], figures["pairs_in_turn"]) == (4, 4)
    assert figures["found_slower_by_more_than_5_percent"] == 3
    assert figures["unaccounted"] == 0.001
