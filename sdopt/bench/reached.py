"""Records case by case, and each component's measured call beside the machine's limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sdopt.bench.bench_record import BenchRecord, CaseSamples
from sdopt.bench.roofline.profile import ComponentLimit, Roofline, stage_of


@dataclass(frozen=True, slots=True)
class Row:
    """One case of one record."""

    record: BenchRecord
    case: CaseSamples

    @property
    def name(self) -> str:
        """What tells it from the other rows, in two lines."""
        return f"{self.subject}\n{self.work}"

    @property
    def subject(self) -> str:
        """What ran."""
        subject = self.record.subject
        return f"{subject.bundle}, {subject.engine} {subject.precisions['unet']}"

    @property
    def work(self) -> str:
        """What it did."""
        case = self.case.case
        return f"{case.width}×{case.height}, {case.num_inference_steps} steps, batch {case.batch}"


def rows_of(records: Sequence[BenchRecord]) -> list[Row]:
    """Return every case of every record."""
    return [Row(record, case) for record in records for case in record.cases]


@dataclass(frozen=True, slots=True)
class Reached:
    """A component's measured call beside its limit."""

    row: Row
    roofline: Roofline
    limit: ComponentLimit

    @property
    def seconds(self) -> float:
        """Median of one measured call; the VAE decodes the pictures of a request one by one."""
        calls = self.row.case.case.batch if self.limit.component == "vae_decoder" else 1
        return self.row.case.summaries()[stage_of(self.limit.component)].p50 / calls

    @property
    def share(self) -> float:
        """Of the machine's limit; dimensionless."""
        return self.limit.limit_s / self.seconds

    @property
    def intensity(self) -> float:
        """Operations per byte."""
        return self.limit.operations / self.limit.least_bytes

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.limit.operations / self.seconds


def reached(rows: Sequence[Row]) -> list[Reached]:
    """Return every component of every row whose limit is known."""
    return [
        Reached(row, roofline, limit)
        for row in rows
        for roofline in row.record.rooflines
        if roofline.case == row.case.case
        for limit in roofline.components
        if stage_of(limit.component) in row.case.summaries()
    ]
