"""The record of quality beside speed: pictures of known content, judged and timed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal, NamedTuple

from sdopt.bench.environment import Environment

_Z = 1.959964
"""Of a normal distribution, for 95 %."""


class Share(NamedTuple):
    """A share of pictures, and where it would lie over all prompts of the kind."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRow:
    """One engine at one number of steps, over all prompts.

    Attributes:
        engine: A name in :data:`sdopt.engines.catalog.ENGINES`.
        precision: What the UNet computed in.
        num_inference_steps: As requested.
        right: How many pictures show what their prompt asked for in every respect.
        psnr_db: Of each picture against the exact engine's at the same number of steps, in
            decibels; None for those that are the same in every pixel.
        walls_s: Of each picture, made alone, from prompt to pixels.
    """

    engine: str
    precision: str
    num_inference_steps: int
    right: int
    psnr_db: tuple[float | None, ...]
    walls_s: tuple[float, ...]

    @property
    def name(self) -> str:
        """Engine and precision."""
        return f"{self.engine} {self.precision}"

    @property
    def accuracy(self) -> Share:
        """Of the pictures that are right, with Wilson's interval at 95 %."""
        return wilson(self.right, len(self.walls_s))

    @property
    def median_psnr_db(self) -> float | None:
        """Over the pictures that differ; None if none does."""
        different = [value for value in self.psnr_db if value is not None]
        return median(different) if different else None

    @property
    def median_s(self) -> float:
        """Seconds per picture."""
        return median(self.walls_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRecord:
    """All of a measurement of quality beside speed.

    Attributes:
        kind: Which kind of record this is.
        format_version: Of the file.
        made_at: When it began, in UTC.
        command: The command line.
        environment: Where.
        bundle: Its name.
        prompts: What kind of prompts, in words.
        exact: Engine and precision whose pictures the others are compared with.
        rows: One for each engine, precision and number of steps.
    """

    kind: Literal["quality"]
    format_version: Literal[1]
    made_at: str
    command: tuple[str, ...]
    environment: Environment
    bundle: str
    prompts: str
    exact: str
    rows: tuple[QualityRow, ...]

    def figures(self) -> Mapping[str, Any]:
        """Compute what people want to know. See :meth:`sdopt.bench.record.Record.figures`."""
        return {
            f"{row.name}, {row.num_inference_steps} steps": {
                "accuracy": row.accuracy._asdict(),
                "median_psnr_db": row.median_psnr_db,
                "median_s": row.median_s,
            }
            for row in self.rows
        }


def wilson(right: int, total: int) -> Share:
    """Return a share with its interval: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927), 209."""
    share, spread = right / total, _Z**2 / total
    centre = (share + spread / 2) / (1 + spread)
    reach = _Z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / total / 4)
    return Share(share, max(0.0, centre - reach), min(1.0, centre + reach))
