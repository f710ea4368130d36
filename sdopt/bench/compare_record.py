"""The record of ``sdopt bench compare``: sides that took turns, and how alike pictures are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sdopt.bench.environment import Environment
from sdopt.bench.statistics import Interval, paired_ratio, summarise
from sdopt.bench.work import Case
from sdopt.bundle.strict import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class SideFacts:
    """What is known of a side beside its samples.

    Attributes:
        name: Such as ``"diffusers-bf16"``.
        settings: What it was told.
        source: Whose advice the settings follow; empty for sdopt.
        versions: Of its packages.
        import_s: Median over its starts, in seconds.
        load_s: Likewise; what the first picture compiles is not in it.
        first_picture_s: Likewise.
        peak_host_bytes: The most that was resident.
        psnr_db: Of its picture against the one named in the record, in decibels; None for a
            picture that is the same in every pixel.
    """

    name: str
    settings: Mapping[str, object]
    source: str
    versions: Mapping[str, str]
    import_s: float
    load_s: float
    first_picture_s: float
    peak_host_bytes: int
    psnr_db: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """A side beside the one that all are compared with.

    Attributes:
        name: Of the side.
        rounds_s: Pairs (reference, side) of wall times in seconds; those of each start of the two
            processes together.
    """

    name: str
    rounds_s: tuple[tuple[tuple[float, ...], ...], ...]

    @property
    def ratio(self) -> Interval | None:
        """The reference's times over the side's; below 1 the reference is faster."""
        return paired_ratio([[(pair[0], pair[1]) for pair in start] for start in self.rounds_s])

    @property
    def median_s(self) -> float:
        """Of the side."""
        return summarise([pair[1] for start in self.rounds_s for pair in start]).p50

    @property
    def reference_median_s(self) -> float:
        """Of the reference, in the same rounds."""
        return summarise([pair[0] for start in self.rounds_s for pair in start]).p50


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRecord:
    """All of a comparison.

    Attributes:
        kind: Which kind of record this is.
        format_version: Of the file.
        made_at: When it began, in UTC.
        command: The command line.
        environment: Where; versions are those of the reference.
        checkpoint: Its name: the last part of its path.
        bundle: Likewise.
        case: The work, the same for all.
        reference: The side that all others took turns with.
        pictures_against: The side whose picture the others' are compared with.
        sides: All of them, the reference first.
        turns: Of every side but the reference.
    """

    kind: Literal["compare"]
    format_version: Literal[1]
    made_at: str
    command: tuple[str, ...]
    environment: Environment
    checkpoint: str
    bundle: str
    case: Case
    reference: str
    pictures_against: str
    sides: tuple[SideFacts, ...]
    turns: tuple[Turns, ...]

    def figures(self) -> Mapping[str, Any]:
        """Compute what people want to know. See :meth:`sdopt.bench.record.Record.figures`."""
        return {
            turns.name: {
                "median_s": turns.median_s,
                "reference_median_s": turns.reference_median_s,
                "reference_over_this": plain(turns.ratio),
            }
            for turns in self.turns
        }
