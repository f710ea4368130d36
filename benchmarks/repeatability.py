"""Measure the same thing again and again: does each measurement lie where the one before said?

    python benchmarks/repeatability.py RECORD.json BUNDLE --size 64x64 --steps 4 [--again 20]

Each measurement is a whole `sdopt bench`, with processes of its own. At 95 % confidence one of
twenty may fall outside.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from sdopt.bench.environment import Environment, environment
from sdopt.bench.record import now, read_record, write_record
from sdopt.bench.run import Plan, measure
from sdopt.bench.statistics import ratio, repeatability, verdict
from sdopt.bench.work import Amount, Case, sizes
from sdopt.engines.options import EngineOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One of many: wall times in seconds by process, and the largest share in no stage."""

    walls_s: tuple[tuple[float, ...], ...]
    unaccounted: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatabilityRecord:
    """Measurements of one case, one after the other."""

    kind: Literal["repeatability"]
    format_version: Literal[1]
    made_at: str
    command: tuple[str, ...]
    environment: Environment
    subject: str
    case: Case
    amount: Amount
    measurements: tuple[Measurement, ...]

    def figures(self) -> dict[str, Any]:
        """Say how many lay within the interval of the one before."""
        intervals = [repeatability(each.walls_s) for each in self.measurements]
        pairs = list(pairwise(intervals))
        within = [before.low <= after.estimate <= before.high for before, after in pairs]  # type: ignore[union-attr]
        walls = [each.walls_s for each in self.measurements]
        slower = [
            verdict(ratio(after, before), 0.05) == "slower" for before, after in pairwise(walls)
        ]
        return {
            "within_the_interval_before": f"{sum(within)} of {len(within)}",
            "found_slower_by_more_than_5_percent": f"{sum(slower)} of {len(slower)}",
            "estimates_s": [interval.estimate for interval in intervals if interval],
            "relative_half_widths": [interval.relative for interval in intervals if interval],
            "unaccounted": max(each.unaccounted for each in self.measurements),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("record", type=Path)
    parser.add_argument("bundle")
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--size", default="64x64")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--warmups", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--again", type=int, default=20)
    options = parser.parse_args()
    (width, height), *_ = sizes(options.size)
    case = Case(
        height=height,
        width=width,
        batch=1,
        num_inference_steps=options.steps,
        guidance_scale=options.guidance,
    )
    amount = Amount(processes=options.processes, warmups=options.warmups, runs=options.runs)
    plan = Plan(
        bundle=options.bundle,
        engine=options.engine,
        options=EngineOptions(),
        cases=[case],
        amount=amount,
        command=[],
    )
    here, made_at, measurements, last = environment(), now(), [], None
    for number in range(options.again + 1):
        last = measure(plan)
        (found,) = last.cases
        walls = tuple(tuple(process) for process in found.walls)
        measurements.append(Measurement(walls_s=walls, unaccounted=round(found.unaccounted, 7)))
        print(number, found.interval, flush=True)
    assert last is not None
    record = RepeatabilityRecord(
        kind="repeatability",
        format_version=1,
        made_at=made_at,
        command=("python", "benchmarks/repeatability.py", *sys.argv[1:]),
        environment=here.of(last.environment.versions),
        subject=str(last.subject),
        case=case,
        amount=amount,
        measurements=tuple(measurements),
    )
    write_record(record, options.record)
    print(read_record(RepeatabilityRecord, options.record).figures())


if __name__ == "__main__":
    main()
