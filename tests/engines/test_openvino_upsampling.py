"""OpenVINO: convolutions behind an upsampling, computed on the small picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdopt.engines.contract import Array
from sdopt.engines.options import EngineOptions, Model

openvino = pytest.importorskip("openvino", reason="needs sdopt[openvino]")

from openvino import opset13 as op  # noqa: E402 - after the check for the package

from sdopt.engines.openvino import OpenVinoEngine  # noqa: E402
from sdopt.engines.openvino.upsampling import fold_upsampling, transposed_weights  # noqa: E402

MANY, FEW = 256, 8
ROUNDING = 3e-5


def random(*shape: int, seed: int = 0, scale: float = 1) -> Array:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def weights(channels: int, inputs: int, side: int = 3) -> Array:
    """Weights that keep the size of values."""
    return random(channels, inputs, side, side, scale=1 / (side * inputs**0.5))


def ints(*values: int) -> Any:
    return op.constant(np.array(values, np.int64))


def doubled(x: Any, mode: str = "nearest", scale: float = 2) -> Any:
    scales = op.constant(np.array([1, 1, scale, scale], np.float32))
    return op.interpolate(
        x, scales, mode, "scales", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )


def as_large_as(x: Any, other: Any) -> Any:
    """Upsample as a UNet does: to the sides of what skipped the lower levels."""
    channels, sides = op.shape_of(x), op.shape_of(other)
    size = op.concat([op.slice(channels, ints(0), ints(2), ints(1), ints(0)),
                      op.slice(sides, ints(2), ints(4), ints(1), ints(0))], 0)  # fmt: skip
    return op.interpolate(
        x, size, "nearest", "sizes", coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )  # fmt: skip


def convolved(x: Any, kernel: Array, *, pad: int = 1, stride: int = 1) -> Any:
    half = op.convert(op.constant(kernel.astype(np.float16)), "f32")
    return op.convolution(x, half, [stride] * 2, [pad] * 2, [pad] * 2, [1, 1])


def results(graph: Any, *inputs: Array) -> Array:
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    return np.array(openvino.Core().compile_model(graph, "CPU", config)(list(inputs))[0])


def picture(channels: int = FEW) -> Any:
    return op.parameter([-1, channels, -1, -1], np.float32)


def scaled_graph(channels: int = FEW, **how: Any) -> Any:
    x = picture(channels)
    upsampled = doubled(x, how.pop("mode", "nearest"), how.pop("scale", 2))
    side = how.pop("side", 3)
    outputs = [convolved(upsampled, weights(6, channels, side), **how)]
    return openvino.Model(outputs, [x], "scaled")


def sized_graph(channels: int = MANY) -> Any:
    x, skipped = picture(channels), picture(1)
    y = convolved(as_large_as(x, skipped), weights(MANY, channels))
    return openvino.Model([op.add(y, op.constant(np.float32(1)))], [x, skipped], "sized")


@pytest.mark.parametrize("shape", [(1, FEW, 1, 1), (2, FEW, 5, 3), (3, FEW, 8, 8)])
def test_a_doubled_picture_is_convolved_from_the_small_one(shape: tuple[int, ...]) -> None:
    x, plain, folded = random(*shape), scaled_graph(), scaled_graph()
    assert fold_upsampling(folded) == 1
    kinds = {node.get_type_name() for node in folded.get_ops()}
    assert "ConvolutionBackpropData" in kinds
    assert not kinds & {"Interpolate", "Convolution"}
    np.testing.assert_allclose(results(folded, x), results(plain, x), atol=ROUNDING)


@pytest.mark.parametrize("sides", [(6, 8), (5, 8), (6, 7), (5, 7), (1, 1), (2, 2)])
def test_a_size_that_the_graph_computes_may_be_odd(sides: tuple[int, int]) -> None:
    rows, (height, width) = 2, sides
    x = random(rows, MANY, -(-height // 2), -(-width // 2))
    skipped, plain, folded = random(rows, 1, *sides), sized_graph(), sized_graph()
    assert fold_upsampling(folded) == 1
    found, expected = results(folded, x, skipped), results(plain, x, skipped)
    assert found.shape == (rows, MANY, *sides)
    np.testing.assert_allclose(found, expected, atol=ROUNDING)


def test_one_compiled_graph_serves_even_and_odd_sizes_in_any_order() -> None:
    plain, folded = sized_graph(), sized_graph()
    fold_upsampling(folded)
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = [openvino.Core().compile_model(g, "CPU", config) for g in (plain, folded)]
    for height, width in [(6, 8), (5, 8), (6, 8), (7, 7), (2, 2), (6, 8)]:
        x = random(2, MANY, -(-height // 2), -(-width // 2), seed=height * width)
        expected, found = (
            np.array(model([x, random(2, 1, height, width)])[0]) for model in compiled
        )
        np.testing.assert_allclose(found, expected, atol=ROUNDING)


@pytest.mark.parametrize(
    ("sides", "busy", "idle"),
    [
        ((64, 64), "ConvolutionBackpropData", "Convolution"),
        ((63, 64), "Convolution", "ConvolutionBackpropData"),
    ],
    ids=["doubles", "odd"],
)
def test_no_row_goes_both_ways(sides: tuple[int, int], busy: str, idle: str) -> None:
    folded = sized_graph()
    fold_upsampling(folded)
    config = {"INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": True}
    request = openvino.Core().compile_model(folded, "CPU", config).create_infer_request()
    request.infer([random(2, MANY, 32, 32), random(2, 1, *sides)])
    seconds = {n.node_type: n.real_time.total_seconds() for n in request.profiling_info}
    assert seconds[idle] < seconds[busy] / 20


@pytest.mark.parametrize(
    "how",
    [
        {"mode": "linear"},
        {"scale": 3},
        {"side": 5, "pad": 2},
        {"stride": 2},
        {"pad": 0},
    ],
    ids=str,
)
def test_other_convolutions_stay_as_they_are(how: dict[str, Any]) -> None:
    assert fold_upsampling(scaled_graph(**how)) == 0


def test_a_large_picture_that_has_another_reader_stays() -> None:
    x = picture()
    large = doubled(x)
    y = convolved(large, weights(FEW, FEW))
    assert fold_upsampling(openvino.Model([op.add(y, large)], [x], "read twice")) == 0


def test_few_weights_are_not_worth_parting_the_rows() -> None:
    assert fold_upsampling(sized_graph(channels=FEW)) == 0


def test_weights_are_sums_of_the_convolutions() -> None:
    """In one dimension: each pixel of the large picture sees two of the small one."""
    kernel = np.zeros((1, 1, 3, 3), np.float32)
    kernel[0, 0, 1] = [1, 10, 100]
    row = transposed_weights(kernel)[0, 0].max(axis=0)
    assert row.tolist() == [100, 110, 11, 1]


def test_the_engine_folds_when_it_loads(tmp_path: Path) -> None:
    path = tmp_path / "model.xml"
    graph = scaled_graph()
    graph.inputs[0].set_names({"x"})
    graph.outputs[0].set_names({"y"})
    openvino.save_model(graph, path, compress_to_fp16=False)
    engine = OpenVinoEngine(Model("vae_decoder", path), EngineOptions(precision="fp32"))
    kinds = {
        node.get_rt_info()["layerType"].astype(str)
        for node in engine._compiled.get_runtime_model().get_ops()
    }
    assert "Deconvolution" in kinds
    assert "Interpolate" not in kinds
    x = random(1, FEW, 4, 4)
    np.testing.assert_allclose(engine.run({"x": x})["y"], results(graph, x), atol=ROUNDING)
