"""Two versions measured on one machine: what has become slower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sdopt.bench.bench_record import BenchRecord, CaseSamples
from sdopt.bench.statistics import Interval, Verdict, ratio, verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One case of two records.

    Attributes:
        subject: What was measured, in words.
        case: What it did, in words.
        ratio: The new wall times over the old; None where there is a single run.
        verdict: In view of the threshold.
        doubts: Why the two can perhaps not be compared, in words.
    """

    subject: str
    case: str
    ratio: Interval | None
    verdict: Verdict
    doubts: tuple[str, ...]

    def __str__(self) -> str:
        """Say it in one line."""
        if self.ratio is None:
            return f"{self.verdict}: {self.subject}, {self.case}: single runs say nothing"
        low, high = self.ratio.low - 1, self.ratio.high - 1
        change = f"{self.ratio.estimate - 1:+.1%} ({low:+.1%} to {high:+.1%})"
        return f"{self.verdict}: {change}, {self.subject}, {self.case}"


def compare_versions(
    before: Sequence[BenchRecord], after: Sequence[BenchRecord], threshold: float
) -> list[Comparison]:
    """Compare every case that was measured before and after.

    Args:
        before: Records of the old version.
        after: Records of the new one.
        threshold: The share by which something may become slower, such as 0.05.
    """
    old = {_key(record, case): (record, case) for record in before for case in record.cases}
    compared = []
    for record in after:
        for case in record.cases:
            if (match := old.get(_key(record, case))) is not None:
                found = ratio(case.walls, match[1].walls)
                compared.append(
                    Comparison(
                        subject=str(record.subject),
                        case=str(case.case),
                        ratio=found,
                        verdict=verdict(found, threshold),
                        doubts=_doubts(match[0], record),
                    )
                )
    return compared


def _key(record: BenchRecord, case: CaseSamples) -> tuple[str, str]:
    return str(record.subject), str(case.case)


def _doubts(before: BenchRecord, after: BenchRecord) -> tuple[str, ...]:
    old, new = before.environment, after.environment
    facts = {
        "the machines": (
            (old.processor.name, old.processor.cores, [gpu.get("name") for gpu in old.gpus]),
            (new.processor.name, new.processor.cores, [gpu.get("name") for gpu in new.gpus]),
        ),
        "the bundles": (before.subject.bundle_sha256, after.subject.bundle_sha256),
    }
    return tuple(f"{name} differ" for name, (first, second) in facts.items() if first != second)
