"""Measure the same thing again and again: does each measurement lie where the one before said?

    python -m benchmarks.repeatability RECORD.json BUNDLE --size 64x64 --steps 4 [--again 20]

Each measurement is a whole `sdopt bench`, with processes of its own. At 95 % confidence one of
twenty may fall outside. Where other programs come and go, what is measured a minute later is not
the same thing: so each measurement is looked at as two that took turns, too.

A record that is there is continued up to --again, so that a machine can be borrowed for minutes at
a time.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from sdopt.bench.environment import Environment, environment
from sdopt.bench.record import now, read_record, write_record
from sdopt.bench.run import Plan, measure
from sdopt.bench.statistics import Groups, ratio, repeatability, verdict
from sdopt.bench.work import Amount, Case, sizes
from sdopt.engines.options import EngineOptions

_LEAST_PROCESSES = 6
"""Of which two measurements can be made: an interval needs three."""


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
        turns = [in_turn(each.walls_s) for each in self.measurements]
        together = [(repeatability(one), repeatability(other)) for one, other in turns]
        return {
            "pairs": len(pairs),
            "within_the_interval_before": sum(within),
            "found_slower_by_more_than_5_percent": sum(slower),
            "pairs_in_turn": len(together),
            "within_the_interval_of_the_other": sum(
                one.low <= other.estimate <= one.high  # type: ignore[union-attr]
                for one, other in together
            ),
            "relative_half_widths_in_turn": [one.relative for one, _ in together if one],
            "estimates_s": [interval.estimate for interval in intervals if interval],
            "relative_half_widths": [interval.relative for interval in intervals if interval],
            "unaccounted": max(each.unaccounted for each in self.measurements),
        }


def in_turn(walls: Groups) -> tuple[Groups, Groups]:
    """Take every other process, or where they are few every other run, as one of two measurements.

    Args:
        walls: Wall times in seconds by process, in the order in which they were measured.
    """
    if len(walls) >= _LEAST_PROCESSES:
        return walls[0::2], walls[1::2]
    return [process[0::2] for process in walls], [process[1::2] for process in walls]


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
    plan = plan_of(options)
    record = None
    if options.record.is_file():
        record = read_record(RepeatabilityRecord, options.record)
        if (record.case, record.amount) != (plan.cases[0], plan.amount):
            sys.exit(f"{options.record} is of another case or amount: name another file.")
    while record is None or len(record.measurements) <= options.again:
        record = continued(record, plan)
        write_record(record, options.record)
        last = repeatability(record.measurements[-1].walls_s)
        print(len(record.measurements), last, flush=True)
    print(read_record(RepeatabilityRecord, options.record).figures())


def plan_of(options: argparse.Namespace) -> Plan:
    """Return what each measurement does."""
    (width, height), *_ = sizes(options.size)
    case = Case(
        height=height,
        width=width,
        batch=1,
        num_inference_steps=options.steps,
        guidance_scale=options.guidance,
    )
    return Plan(
        bundle=options.bundle,
        engine=options.engine,
        options=EngineOptions(),
        cases=[case],
        amount=Amount(processes=options.processes, warmups=options.warmups, runs=options.runs),
        command=[],
    )


def continued(before: RepeatabilityRecord | None, plan: Plan) -> RepeatabilityRecord:
    """Measure once more, and add what came of it to a record."""
    here, made_at = environment(), now()
    made = measure(plan)
    (found,) = made.cases
    walls = tuple(tuple(process) for process in found.walls)
    measurement = Measurement(walls_s=walls, unaccounted=round(found.unaccounted, 7))
    if before is not None:
        if before.subject != str(made.subject):
            sys.exit(f"The record is of {before.subject}, and this is {made.subject}.")
        return replace(before, measurements=(*before.measurements, measurement))
    return RepeatabilityRecord(
        kind="repeatability",
        format_version=1,
        made_at=made_at,
        command=("python", "-m", "benchmarks.repeatability", *sys.argv[1:]),
        environment=here.of(made.environment.versions),
        subject=str(made.subject),
        case=plan.cases[0],
        amount=plan.amount,
        measurements=(measurement,),
    )


if __name__ == "__main__":
    main()
