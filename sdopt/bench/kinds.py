"""Every kind of record that there is, and reading a folder of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sdopt.bench.bench_record import BenchRecord
from sdopt.bench.compare_record import CompareRecord
from sdopt.bench.quality_record import QualityRecord
from sdopt.bench.record import Record, kind_of, read_record
from sdopt.errors import BenchError

KINDS: Mapping[str, type[Record]] = {
    "bench": BenchRecord,
    "compare": CompareRecord,
    "quality": QualityRecord,
}


@dataclass(frozen=True, slots=True)
class Found:
    """A record and where it lies."""

    path: Path
    record: Record


def read_all(place: Path) -> list[Found]:
    """Read a record, or all records of a folder, in the order of their names.

    Files of other kinds are left alone: a folder may hold what other scripts wrote.

    Raises:
        BenchError: There is no record.
        RecordError: A record says what it may not say.
    """
    paths = sorted(place.glob("*.json")) if place.is_dir() else [place]
    found = [
        Found(path, read_record(KINDS[kind], path))
        for path in paths
        if (kind := kind_of(path)) is not None and kind in KINDS
    ]
    if not found:
        raise BenchError(
            f"There is no record of a measurement in {place}. "
            f"`sdopt bench BUNDLE --json {place}/NAME.json` writes one."
        )
    return found
