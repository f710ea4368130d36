"""Statistics on synthetic clocks, where the truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from scipy import stats

from sdopt.bench.statistics import (
    Groups,
    paired_ratio,
    ratio,
    repeatability,
    summarise,
    verdict,
)
from sdopt.bench.student import quantile

PROCESSES, RUNS = 5, 6


def clock(rng: np.random.Generator, seconds: float, between: float = 0.02) -> Groups:
    """Return durations as processes give them: each has its own bias, and noise is one-sided."""
    return [
        seconds * math.exp(rng.normal(0, between)) * np.exp(rng.exponential(0.01, RUNS))
        for _ in range(PROCESSES)
    ]


def drifting_clock(rng: np.random.Generator, seconds: float, spread: float = 0.1) -> Groups:
    """Return durations of processes each of which is as fast as the one before, by a quarter."""
    level, groups = rng.normal(0, spread), []
    for _ in range(PROCESSES):
        groups.append(seconds * math.exp(level) * np.exp(rng.exponential(0.01, RUNS)))
        level = 0.25 * level + rng.normal(0, spread * math.sqrt(1 - 0.25**2))
    return groups


def test_a_summary_of_known_samples() -> None:
    found = summarise([1.0, 2.0, 3.0, 4.0, 10.0])
    assert (found.count, found.mean, found.p50, found.least, found.most) == (5, 4.0, 3.0, 1.0, 10.0)
    assert found.spread == pytest.approx(math.sqrt(50 / 4))
    assert summarise([7.0]).spread == 0.0


def test_percentiles_are_given_where_a_sample_can_lie_beyond() -> None:
    counts = {n: summarise([float(k) for k in range(n)]) for n in (9, 10, 99, 100)}
    assert [counts[n].p90 for n in (9, 10)] == [None, pytest.approx(8.1)]
    assert [counts[n].p99 for n in (99, 100)] == [None, pytest.approx(98.01)]


def test_outliers_are_counted_and_stay() -> None:
    found = summarise([1.0, 1.1, 1.2, 1.3, 1.4, 100.0])
    assert found.outliers == 1
    assert found.most == 100.0
    assert found.mean > 17
    assert summarise([1.0, 1.1, 1.2, 1.3, 1.4, 1.5]).outliers == 0


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 19, 60])
def test_students_quantile_is_scipys(freedom: int) -> None:
    for probability in (0.5, 0.9, 0.95, 0.99):
        expected = stats.t.ppf((1 + probability) / 2, freedom)
        assert quantile(probability, freedom) == pytest.approx(expected, rel=1e-9)


def test_a_single_run_says_nothing_about_another() -> None:
    assert repeatability([[1.0]]) is None
    assert ratio([[1.0]], [[1.0, 2.0]]) is None
    assert paired_ratio([[(1.0, 2.0)]]) is None
    assert verdict(None, 0.05) == "undecided"


def test_processes_are_the_unit_from_three_on() -> None:
    """Thousands of equal runs in two processes that differ would otherwise look certain."""
    few = repeatability([[1.0, 1.02], [1.01, 1.03]])
    many = repeatability([[1.0] * 1000, [1.1] * 1000, [1.2] * 1000])
    assert few is not None
    assert many is not None
    assert (few.unit, few.units) == ("run", 4)
    assert (many.unit, many.units) == ("process", 3)
    assert many.low < 0.8
    assert many.high > 1.5


def test_an_interval_is_the_textbooks() -> None:
    """Of the logarithms 0, 1, 2: mean 1, standard deviation 1, t(0.95, 2) = 4.3027.

    Neighbours that are alike by a quarter are as sure as three fifths as many that are not.
    """
    found = repeatability([[1.0], [math.e], [math.e**2]])
    assert found is not None
    reach = 4.302652729749459 * math.sqrt(2) / math.sqrt(3 * 3 / 5)
    assert found.estimate == pytest.approx(math.e)
    assert math.log(found.low) == pytest.approx(1 - reach)
    assert math.log(found.high) == pytest.approx(1 + reach)


def test_medians_that_agree_by_luck_are_no_surer_than_their_runs() -> None:
    """Runs of logarithms -0.1, 0, 0.1: variance 0.01, of a median of three π/2 of a third of it."""
    runs = [math.exp(-0.1), 1.0, math.exp(0.1)]
    found = repeatability([runs] * 4)
    assert found is not None
    error = math.sqrt(math.pi / 2 * 0.01 / 3)
    reach = stats.t.ppf(0.975, 3) * math.sqrt(2) * error / math.sqrt(4 * 3 / 5)
    assert found.estimate == pytest.approx(1.0)
    assert math.log(found.high) == pytest.approx(reach)
    assert repeatability([[1.0]] * 4) == repeatability([[1.0, 1.0]] * 4)


def test_a_ratio_is_welchs() -> None:
    """Welch's interval, widened because neighbours are alike."""
    rng = np.random.default_rng(3)
    ours, theirs = clock(rng, 1.3, 0.05), clock(rng, 1.0, 0.01)
    found = ratio(ours, theirs)
    logs = [[math.log(np.median(group)) for group in side] for side in (ours, theirs)]
    expected = stats.ttest_ind(*logs, equal_var=False).confidence_interval(0.95)
    assert found is not None
    centre = math.log(found.estimate)
    assert centre == pytest.approx((expected.low + expected.high) / 2)
    # Ours rounds the degrees of freedom down, so it is a little wider.
    reach = (math.log(found.high) - centre) * math.sqrt(3 / 5)
    assert expected.high <= centre + reach < expected.high + 0.02


@pytest.mark.parametrize(
    "measured",
    [
        partial(clock, seconds=1.0, between=0.002),
        partial(clock, seconds=1.0, between=0.02),
        partial(clock, seconds=1.0, between=0.1),
        partial(drifting_clock, seconds=1.0),
    ],
)
def test_another_run_lies_within_the_interval(
    measured: Callable[[np.random.Generator], Groups],
) -> None:
    """In 95 of 100; fewer than 93 of 100 has, over 2000 trials, a probability below 1e-4.

    Also where the machine is slower for some minutes, of which a measurement sees a part.
    """
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        first, second = (repeatability(measured(rng)) for _ in range(2))
        assert first is not None
        assert second is not None
        hits += first.low <= second.estimate <= first.high
    assert hits >= 1860


def test_what_is_slower_is_found_and_what_is_equal_is_not() -> None:
    rng = np.random.default_rng(1)
    found = [
        [verdict(ratio(clock(rng, slower), clock(rng, 1.0)), 0.05) for slower in (1.25, 1.0)]
        for _ in range(20)
    ]
    assert {slowed for slowed, _ in found} == {"slower"}
    assert "slower" not in {equal for _, equal in found}


def test_turns_cancel_what_hits_both_sides() -> None:
    """The machine becomes three times slower on the way; made apart, nothing could be said."""
    rng = np.random.default_rng(2)
    drift = np.geomspace(1, 3, 12)
    rounds = [(1.2 * d * math.exp(rng.normal(0, 0.02)), 1.0 * d) for d in drift]
    paired = paired_ratio([rounds])
    assert paired is not None
    assert paired.low < 1.2 < paired.high
    assert paired.relative < 0.03
    apart = ratio([[ours for ours, _ in rounds]], [[theirs for _, theirs in rounds]])
    assert apart is not None
    assert apart.relative > 0.3


@pytest.mark.parametrize(
    ("slower", "expected"), [(1.5, "slower"), (1.0, "not slower"), (1.05, "undecided")]
)
def test_the_verdict_looks_at_the_whole_interval(slower: float, expected: str) -> None:
    usual = [[0.99], [1.0], [1.01]]
    ours = [[slower * seconds for seconds in group] for group in usual]
    assert verdict(ratio(ours, usual), 0.05) == expected
