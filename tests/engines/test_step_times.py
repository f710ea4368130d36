"""Batches are cut up by what calls take: on a clock of the tests' own, and with real engines."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.reference import load_reference
from sdopt.engines import row_parts
from sdopt.engines.catalog import open_engine
from sdopt.engines.options import EngineOptions, Model
from sdopt.engines.row_parts import MeasuredParts, in_parts
from sdopt.engines.step_times import StepTimes, measure_steps

FLAT_UP_TO_FOUR = {1: 1.0, 2: 1.0, 4: 1.0, 8: 2.6}
GROWS = {1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0}
SUDDENLY_SLOW = {1: 1.0, 2: 1.4, 4: 2.2, 8: 9.0}
ODD_IS_SLOW = {1: 1.0, 2: 1.2, 3: 2.5, 4: 1.5}


@pytest.mark.parametrize(
    ("seconds", "rows", "parts"),
    [
        (GROWS, 7, (7,)),
        (GROWS, 1, (1,)),
        (FLAT_UP_TO_FOUR, 3, (3,)),
        (FLAT_UP_TO_FOUR, 8, (4, 4)),
        (FLAT_UP_TO_FOUR, 16, (4, 4, 4, 4)),
        (SUDDENLY_SLOW, 8, (4, 4)),
        (SUDDENLY_SLOW, 6, (4, 2)),
        (SUDDENLY_SLOW, 4, (4,)),
        (ODD_IS_SLOW, 3, (4,)),
        (ODD_IS_SLOW, 7, (7,)),
        (ODD_IS_SLOW | {7: 4.0}, 7, (4, 4)),
        ({2: 1.0}, 1, (1,)),
    ],
)
def test_a_batch_is_cut_where_that_is_faster(
    seconds: Mapping[int, float], rows: int, parts: tuple[int, ...]
) -> None:
    assert StepTimes(seconds).parts(rows) == parts


def test_no_call_has_more_rows_than_the_engine_takes() -> None:
    times = StepTimes({1: 1.0, 2: 2.0, 4: 4.0})
    assert times.parts(6) == (6,)
    assert sum(times.parts(6, 4)) == 6
    assert max(times.parts(6, 4)) <= 4
    assert times.parts(4, 4) == (4,)


TIMES = st.dictionaries(
    st.integers(1, 12), st.floats(1e-3, 1e3, allow_nan=False), min_size=1, max_size=5
)


@given(TIMES, st.integers(1, 14))
def test_no_other_cut_is_faster(seconds: dict[int, float], rows: int) -> None:
    """Every multiset of measured sizes that covers the batch, by brute force."""
    times = StepTimes(seconds)
    parts = times.parts(rows)
    assert sum(parts) >= rows
    assert sum(parts[:-1]) < rows
    assert list(parts) == sorted(parts, reverse=True)
    best = min(
        sum(map(times.of, sizes))
        for count in range(1, rows + 1)
        for sizes in itertools.combinations_with_replacement(sorted(seconds), count)
        if sum(sizes) >= rows and sum(sizes[1:]) < rows
    )
    taken = sum(map(times.of, parts))
    assert taken <= best / 0.9 * (1 + 1e-9)
    if parts != (rows,):
        assert taken <= 0.9 * times.of(rows) * (1 + 1e-9)


def test_between_two_measured_numbers_times_lie_on_a_line() -> None:
    times = StepTimes({2: 1.0, 4: 3.0})
    assert [times.of(rows) for rows in (1, 2, 3, 4, 8)] == [0.5, 1.0, 2.0, 3.0, 6.0]


class Clock:
    """A UNet whose calls take what a table says, on a clock that only they move."""

    def __init__(self, seconds: Callable[[int], float], first_s: float = 0.0) -> None:
        self.now, self.calls = 0.0, list[int]()
        self._seconds, self._first_s = seconds, first_s

    def __call__(self) -> float:
        return self.now

    def timed(self, rows: int) -> float:
        seconds = self._seconds(rows) + (0 if rows in self.calls else self._first_s)
        self.calls.append(rows)
        self.now += seconds
        return seconds


def test_powers_of_two_are_measured_first_and_the_first_call_does_not_count() -> None:
    clock = Clock(lambda rows: 0.001 * rows, first_s=0.1)
    times = measure_steps(clock.timed, 6, 100, clock)
    assert list(dict.fromkeys(clock.calls)) == [1, 2, 4, 6, 3, 5]
    assert times.seconds == pytest.approx({rows: 0.001 * rows for rows in range(1, 7)})


def test_a_moment_of_other_work_changes_no_cut() -> None:
    """The clock runs three times as fast for a while: every number has a round without that."""
    clock = Clock(lambda rows: 0.001 * rows * (3 if 0.05 < clock.now < 0.12 else 1))
    times = measure_steps(clock.timed, 8, 100, clock)
    assert all(times.parts(rows) == (rows,) for rows in range(1, 9))


def test_measuring_ends_with_its_budget() -> None:
    clock = Clock(float)
    times = measure_steps(clock.timed, 16, 30, clock)
    assert list(times.seconds) == [1, 2, 4]
    assert clock.now <= 30
    assert list(measure_steps(Clock(float).timed, 16, 0, lambda: 0.0).seconds) == [1]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    "table", [{1: 1.0, 2: 1.1, 8: 9.0}, {4: 1.0, 6: 9.0}, {1: 1.0, 2: 9.0}], ids=str
)
def test_no_cut_changes_a_bit_on_the_host(
    engine: str, table: dict[int, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of two, filled-up parts of four, and row by row, against one call."""
    pytest.importorskip(engine)
    bundle = Bundle.open("shapes")
    whole = open_engine(engine, Model.of(bundle, "unet"), EngineOptions())
    (pair, *_) = load_reference(bundle.path / str(bundle.component("unet").reference))
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.standard_normal((5, *array.shape[1:])).astype(array.dtype)
        for name, array in pair.inputs.items()
    }
    cut = in_parts(whole, "exact", 8)
    assert isinstance(cut, MeasuredParts)
    monkeypatch.setattr(row_parts, "measure_steps", lambda *_: StepTimes(table))
    row = {name: array.shape[1:] for name, array in (pair.inputs | pair.outputs).items()}
    cut.measure(row, 60.0)  # enough for comparing bits on a busy machine
    assert StepTimes(table).parts(5) != (5,)
    outputs = [np.empty((5, *row["out_sample"]), np.float32) for _ in range(2)]
    for engine_of, output in zip((whole, cut), outputs, strict=True):
        engine_of.bind({**arrays, "out_sample": output})()
    assert outputs[0].tobytes() == outputs[1].tobytes()
    assert outputs[0].tobytes() == cut.run(arrays)["out_sample"].tobytes()


def test_a_pipeline_measures_its_own_unet_and_makes_the_same_picture() -> None:
    import sdopt

    pipeline = sdopt.load("shapes", max_rows=2)
    before = pipeline("a red circle", seed=3, num_inference_steps=3).images[0]
    times = pipeline.choose_buckets(30.0)
    assert times is not None
    assert list(times.seconds) == [1, 2, 3, 4]
    assert min(times.seconds.values()) > 0
    assert pipeline.step_times == times
    assert pipeline("a red circle", seed=3, num_inference_steps=3).images[0] == before
