"""What samples of durations say, and how sure that is.

Nothing is dropped: outliers are counted and stay in every figure. A percentile is given only where
there are samples enough for at least one to lie beyond it.

Runs in one process share its memory layout, its caches and the minute in which they were made, so
they are more alike than two measurements are. Where samples come from three processes or more,
the process is therefore the unit (T. Kalibera, R. Jones: Rigorous Benchmarking in Reasonable Time,
ISMM 2013): each gives one median, and what intervals are made of is how those differ. A few medians
may agree by luck where the runs behind them do not: they are never taken to be surer than the runs'
own spread allows. Processes that ran one after the other share minutes, in which a machine is fast
or slow, so they are taken to be somewhat alike, and a mean of them to be less sure than one of as
many that have nothing in common. Durations are compared as logarithms, because noise scales with
them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sdopt.bench.student import quantile

CONFIDENCE = 0.95
_LEAST_GROUPS = 3
_FENCE = 3.0
_ALIKE = 0.25
"""The correlation of a process's median with the next one's. What was seen is in
docs/benchmarks.md."""

Groups = Sequence[Sequence[float]]
"""Samples in seconds, those of each process together."""

Unit = Literal["process", "run"]
Verdict = Literal["slower", "not slower", "undecided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What samples are like, in their own unit.

    Attributes:
        count: How many there are.
        mean: Their arithmetic mean.
        spread: Their standard deviation; 0 for a single one.
        p50: Median.
        p90: None for fewer than 10 samples.
        p99: None for fewer than 100 samples.
        least: The smallest.
        most: The largest.
        outliers: How many lie beyond Tukey's outer fences, three interquartile ranges outside of
            the quartiles. They are part of every figure.
    """

    count: int
    mean: float
    spread: float
    p50: float
    p90: float | None
    p99: float | None
    least: float
    most: float
    outliers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate and how far off it may be.

    Attributes:
        estimate: In the samples' unit, or dimensionless for a ratio.
        low: With the given confidence the quantity is not below this.
        high: Nor above this.
        confidence: From 0 to 1.
        unit: Of what the samples were that differ by chance.
        units: How many of those there were; of the smaller side, for a ratio.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    unit: Unit
    units: int

    @property
    def relative(self) -> float:
        """Half the interval's width over the estimate; dimensionless."""
        return (self.high - self.low) / 2 / self.estimate


def summarise(samples: Sequence[float]) -> Summary:
    """Describe samples; there must be at least one."""
    values = np.asarray(samples, np.float64)
    first, median, third = np.percentile(values, (25, 50, 75))
    reach = _FENCE * (third - first)
    return Summary(
        count=len(values),
        mean=float(values.mean()),
        spread=float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        p50=float(median),
        p90=float(np.percentile(values, 90)) if len(values) >= 10 else None,
        p99=float(np.percentile(values, 99)) if len(values) >= 100 else None,
        least=float(values.min()),
        most=float(values.max()),
        outliers=int(((values < first - reach) | (values > third + reach)).sum()),
    )


def repeatability(groups: Groups, confidence: float = CONFIDENCE) -> Interval | None:
    """Say where the result of another measurement of the same kind will lie.

    This is the prediction interval of a mean of as many units: it is wider than the confidence
    interval of the estimate, by a factor of the square root of two, because the other measurement
    is off as well, and it need not be made in the same minutes.

    Returns:
        An interval around the geometric mean of the units; None for a single one, which says
        nothing about any other.
    """
    units = _units(groups)
    if len(units.logs) < 2:
        return None
    spread = _Spread(units.mean, math.sqrt(2) * units.error, len(units.logs) - 1)
    return _interval(spread, confidence, units.unit, len(units.logs))


def ratio(ours: Groups, theirs: Groups, confidence: float = CONFIDENCE) -> Interval | None:
    """Compare two measurements made apart: our durations over theirs, by Welch's t-interval.

    Like :func:`repeatability`, it takes neighbouring processes to be alike.

    Returns:
        An interval, dimensionless; None where a side has a single unit.
    """
    first, second = _units(ours), _units(theirs)
    fewer = min(len(first.logs), len(second.logs))
    if fewer < 2:
        return None
    error = math.hypot(first.error, second.error)
    spread = _Spread(first.mean - second.mean, error, _welch(first, second))
    unit = first.unit if first.unit == second.unit else "run"
    return _interval(spread, confidence, unit, fewer)


def paired_ratio(
    rounds: Sequence[Sequence[tuple[float, float]]], confidence: float = CONFIDENCE
) -> Interval | None:
    """Compare two sides that took turns: our durations over theirs.

    What else the machine did hit both of a pair alike, so it is the pairs' ratios that are looked
    at, and those of one start are taken to be independent of the next one's.

    Args:
        rounds: (ours, theirs) of each round, those of each start of the two processes together.
        confidence: From 0 to 1.

    Returns:
        An interval, dimensionless; None for a single unit.
    """
    units = _units([[ours / theirs for ours, theirs in pairs] for pairs in rounds], alike=0.0)
    if len(units.logs) < 2:
        return None
    spread = _Spread(units.mean, units.error, len(units.logs) - 1)
    return _interval(spread, confidence, units.unit, len(units.logs))


def verdict(compared: Interval | None, threshold: float) -> Verdict:
    """Say whether one side is slower than the other by more than a share that is allowed.

    Args:
        compared: Its durations over the other's.
        threshold: Such as 0.05 for five percent.

    Returns:
        ``"slower"`` if the whole interval lies beyond the threshold, ``"not slower"`` if it lies
        within, and otherwise ``"undecided"``: more runs will tell.
    """
    if compared is None:
        return "undecided"
    if compared.low > 1 + threshold:
        return "slower"
    return "not slower" if compared.high <= 1 + threshold else "undecided"


@dataclass(frozen=True, slots=True)
class _Units:
    """The logarithm of each unit: of the processes' medians, or of single runs.

    Attributes:
        logs: One for each unit.
        unit: What they are.
        least_spread: What a unit's standard deviation is at least, by what lies within units.
        alike: The correlation of a unit with the next one.
    """

    logs: np.ndarray
    unit: Unit
    least_spread: float = 0.0
    alike: float = 0.0

    @property
    def mean(self) -> float:
        return float(self.logs.mean())

    @property
    def error(self) -> float:
        """Of the mean: that of a long series of which each is correlated with the next."""
        spread = max(float(self.logs.std(ddof=1)), self.least_spread)
        return spread * math.sqrt((1 + self.alike) / (1 - self.alike) / len(self.logs))


@dataclass(frozen=True, slots=True)
class _Spread:
    """A quantity of logarithms: its centre, its standard error, and that one's freedom."""

    centre: float
    error: float
    freedom: int


def _units(groups: Groups, alike: float = _ALIKE) -> _Units:
    if len(groups) >= _LEAST_GROUPS:
        logs = np.log([np.median(group) for group in groups])
        return _Units(logs, "process", _spread_of_medians(groups), alike)
    return _Units(np.log([sample for group in groups for sample in group]), "run")


def _spread_of_medians(groups: Groups) -> float:
    """Return the standard deviation that medians of such runs have by the runs' own spread alone.

    For large samples of a normal distribution the variance of a median is π/2 times that of a mean.
    """
    several = [np.log(group) for group in groups if len(group) > 1]
    if not several:
        return 0.0
    variances = [float(logs.var(ddof=1)) for logs in several]
    counts = [len(logs) for logs in several]
    return math.sqrt(math.pi / 2 * float(np.mean(variances)) / float(np.mean(counts)))


def _welch(first: _Units, second: _Units) -> int:
    """Return the degrees of freedom of Welch and Satterthwaite, rounded down."""
    variances = [units.error**2 for units in (first, second)]
    freedoms = [len(units.logs) - 1 for units in (first, second)]
    shares = sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))
    return math.floor(sum(variances) ** 2 / shares) if shares else min(freedoms)


def _interval(spread: _Spread, confidence: float, unit: Unit, units: int) -> Interval:
    reach = quantile(confidence, spread.freedom) * spread.error
    return Interval(
        estimate=math.exp(spread.centre),
        low=math.exp(spread.centre - reach),
        high=math.exp(spread.centre + reach),
        confidence=confidence,
        unit=unit,
        units=units,
    )
