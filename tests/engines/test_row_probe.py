"""Rows that may meet: each has the bits that it has by itself, whatever else is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from sdopt.bundle.tensors import TensorSpec
from sdopt.engines import row_parts
from sdopt.engines.contract import Array, Buffer, Call
from sdopt.engines.host import HOST, host_arrays
from sdopt.engines.options import EngineOptions, Model
from sdopt.engines.row_parts import VerifiedParts, in_parts
from sdopt.engines.row_probe import same_as_alone
from sdopt.engines.step_times import StepTimes

VALUES = 1000
ROW = {"sample": (VALUES,), "timestep": (), "out_sample": (VALUES,)}


class Summing:
    """A UNet on the host that adds up each row, in an order that the number of rows decides."""

    name, precision, device = "unet", "fp32", HOST
    inputs = (
        TensorSpec("sample", "float32", ("rows", VALUES)),
        TensorSpec("timestep", "float32", ("rows",)),
    )
    outputs = (TensorSpec("out_sample", "float32", ("rows", VALUES)),)
    rows_meet = True

    def __init__(self, reverses: Callable[[int], bool]) -> None:
        self._reverses = reverses
        self.calls: list[int] = []

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        sample, timestep = inputs["sample"], inputs["timestep"]
        self.calls.append(len(sample))
        order = slice(None, None, -1) if self._reverses(len(sample)) else slice(None)
        summed = np.cumsum(sample[:, order], axis=1, dtype=np.float32)
        return {"out_sample": summed + timestep[:, None]}

    def bind(self, buffers: Mapping[str, Buffer]) -> Call:
        arrays = host_arrays(self.name, buffers)

        def call() -> None:
            arrays["out_sample"][:] = self.run(arrays)["out_sample"]

        return call


def test_numbers_of_rows_that_change_bits_are_found() -> None:
    engine = Summing(lambda rows: rows in (3, 4))
    assert same_as_alone(engine, ROW, range(1, 7), 60.0) == {1, 2, 5, 6}
    # Each row by itself once, and one call of each larger size.
    assert sorted(engine.calls) == [1] * 6 + [2, 3, 4, 5, 6]


def test_what_would_take_too_long_is_not_tried() -> None:
    """A second a row: one, then two by themselves and together, then no more."""
    engine = Summing(lambda _: False)
    assert same_as_alone(engine, ROW, [1, 2, 4], 5.0, clock=lambda: float(sum(engine.calls))) == {
        1, 2,
    }  # fmt: skip
    assert sum(engine.calls) <= 5


def measured(engine: Summing, monkeypatch: pytest.MonkeyPatch) -> VerifiedParts:
    """Return parts for which a row of a larger call takes half of the time."""
    parts = in_parts(engine, "exact", 8)
    assert isinstance(parts, VerifiedParts)
    seconds = {rows: (1 + rows) / 2 for rows in range(1, 9)}
    monkeypatch.setattr(row_parts, "measure_steps", lambda *_: StepTimes(seconds))
    parts.measure(ROW, 60.0)
    engine.calls.clear()
    return parts


def test_until_it_was_tried_each_row_is_computed_by_itself() -> None:
    engine = Summing(lambda rows: rows > 1)
    in_parts(engine, "exact", 8).run(inputs(3))
    assert engine.calls == [1, 1, 1]


@pytest.mark.parametrize(
    ("reverses", "calls"),
    [
        (lambda _: False, {2: [2], 3: [3], 8: [8]}),
        (lambda rows: rows > 1, {2: [1, 1], 3: [1, 1, 1], 8: [1] * 8}),
        (lambda rows: rows % 2 == 1 and rows > 1, {2: [2], 3: [4], 7: [8]}),
    ],
    ids=["never", "always", "odd"],
)
def test_larger_calls_are_made_where_bits_stay(
    reverses: Callable[[int], bool], calls: dict[int, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Summing(reverses)
    parts = measured(engine, monkeypatch)
    for rows, expected in calls.items():
        given, output = inputs(rows), np.empty((rows, VALUES), np.float32)
        parts.bind({**given, "out_sample": output})()
        assert engine.calls == expected
        alone = [
            engine.run({n: array[i : i + 1] for n, array in given.items()})["out_sample"][0]
            for i in range(rows)
        ]
        assert output.tobytes() == np.array(alone).tobytes()
        engine.calls.clear()


def test_fast_batching_asks_nobody() -> None:
    engine = Summing(lambda rows: rows > 1)
    in_parts(engine, "fast", 8).run(inputs(3))
    assert engine.calls == [3]


def test_a_convolution_of_openvino_that_minds_its_rows(tmp_path: Path) -> None:
    """As large as one of Stable Diffusion 1.5 that adds up in another order for three rows."""
    openvino = pytest.importorskip("openvino", reason="needs sdopt[openvino]")
    from openvino import opset13 as op

    from sdopt.engines.openvino import OpenVinoEngine

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bf16")
    rng = np.random.default_rng(0)
    sample = op.parameter([-1, 960, -1, -1], np.float32, name="sample")
    weights = (rng.standard_normal((320, 960, 3, 3)) / 100).astype(np.float32)
    y = op.convolution(sample, op.constant(weights), [1, 1], [1, 1], [1, 1], [1, 1])
    sample.output(0).set_names({"sample"})
    y.output(0).set_names({"out_sample"})
    path = tmp_path / "model.xml"
    openvino.save_model(openvino.Model([y], [sample], "unet"), path, compress_to_fp16=False)
    engine = OpenVinoEngine(Model("unet", path), EngineOptions(precision="bf16"))
    parts = in_parts(engine, "exact", 4)
    assert isinstance(parts, VerifiedParts)
    given = {"sample": rng.standard_normal((4, 960, 32, 32)).astype(np.float32)}
    alone = [engine.run({"sample": given["sample"][i : i + 1]})["out_sample"] for i in range(4)]
    for _ in ("before it was measured", "after"):
        for rows in (2, 3, 4):
            together = parts.run({"sample": given["sample"][:rows]})["out_sample"]
            assert together.tobytes() == np.concatenate(alone[:rows]).tobytes(), rows
        times = parts.measure({"sample": (960, 32, 32), "out_sample": (320, 32, 32)}, 1.0)
    assert 1 in times.seconds


def inputs(rows: int) -> dict[str, Array]:
    rng = np.random.default_rng(rows)
    return {
        "sample": rng.standard_normal((rows, VALUES)).astype(np.float32),
        "timestep": rng.uniform(0, 1000, rows).astype(np.float32),
    }
