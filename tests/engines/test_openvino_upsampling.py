"""OpenVINO: convolutions behind an upsampling, computed on the small picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

openvino = pytest.importorskip("openvino", reason="needs sdopt[openvino]")

from openvino import opset13 as op  # noqa: E402 - after the check for the package

from sdopt.engines.openvino.tiles import summed_weights  # noqa: E402
from sdopt.engines.openvino.upsampling import (  # noqa: E402
    DOUBLED,
    fold_upsampling,
    transposed_weights,
)
from tests.engines.openvino_graphs import (  # noqa: E402
    FEW,
    ROUNDING,
    bf16_errors,
    biased,
    compiled,
    convolved,
    ints,
    kinds,
    kinds_run,
    loaded,
    picture,
    random,
    results,
    seconds_of,
)

MANY, MOST = 256, 512
"""Channels from which on it is worth parting the rows, and summing tiles."""
FP32 = "fp32"


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


def scaled_graph(
    channels: int = FEW, outputs: int = 6, *, bias: bool = True, mode: str = "nearest",
    scale: float = 2, **how: int,
) -> Any:  # fmt: skip
    x = picture(channels)
    y = convolved(doubled(x, mode, scale), channels, outputs, **how)
    y = biased(y, outputs) if bias else y
    return openvino.Model([op.relu(y)], [x], "scaled")


def sized_graph(channels: int = MANY, outputs: int = MANY, *, bias: bool = True) -> Any:
    x, skipped = picture(channels), picture(1)
    y = convolved(as_large_as(x, skipped), channels, outputs)
    y = biased(y, outputs) if bias else y
    return openvino.Model([op.relu(y)], [x, skipped], "sized")


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 5, 3), (3, 8, 8)], ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize(
    ("channels", "by"), [(FEW, "ConvolutionBackpropData"), (MOST, "MatMul")], ids=["few", "many"]
)
def test_a_doubled_picture_is_convolved_from_the_small_one(
    shape: tuple[int, ...], bias: bool, channels: int, by: str
) -> None:
    rows, *sides = shape
    x = random(rows, channels, *sides)
    plain, folded = (scaled_graph(channels, channels + 64, bias=bias) for _ in range(2))
    assert fold_upsampling(folded, FP32) == 1
    assert by in kinds(folded)
    assert not kinds(folded) & {"Interpolate", "Convolution"}
    expected, found = results(plain, x), results(folded, x)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=ROUNDING)


@pytest.mark.parametrize("sides", [(6, 8), (5, 8), (6, 7), (5, 7), (1, 1), (2, 2)])
@pytest.mark.parametrize(("channels", "bias"), [(MANY, False), (MOST, True)])
def test_a_size_that_the_graph_computes_may_be_odd(
    sides: tuple[int, int], channels: int, bias: bool
) -> None:
    rows, (height, width) = 2, sides
    x = random(rows, channels, -(-height // 2), -(-width // 2))
    skipped = random(rows, 1, *sides)
    plain, folded = (sized_graph(channels, channels, bias=bias) for _ in range(2))
    assert fold_upsampling(folded, FP32) == 1
    found, expected = results(folded, x, skipped), results(plain, x, skipped)
    assert found.shape == (rows, channels, *sides)
    np.testing.assert_allclose(found, expected, atol=ROUNDING)


@pytest.mark.parametrize("channels", [MANY, MOST])
def test_one_compiled_graph_serves_even_and_odd_sizes_in_any_order(channels: int) -> None:
    plain, folded = (sized_graph(channels, channels) for _ in range(2))
    fold_upsampling(folded, FP32)
    models = [compiled(graph) for graph in (plain, folded)]
    for height, width in [(6, 8), (5, 8), (6, 8), (7, 7), (2, 2), (6, 8)]:
        x = random(2, channels, -(-height // 2), -(-width // 2), seed=height * width)
        expected, found = (np.array(model([x, random(2, 1, height, width)])[0]) for model in models)
        np.testing.assert_allclose(found, expected, atol=ROUNDING)


@pytest.mark.parametrize(
    ("channels", "fast"),
    [(MANY, "ConvolutionBackpropData"), (MOST, "FullyConnected")],
    ids=["many", "most"],
)
@pytest.mark.parametrize("sides", [(64, 64), (63, 64)], ids=["doubles", "odd"])
def test_no_row_goes_both_ways(sides: tuple[int, int], channels: int, fast: str) -> None:
    folded = sized_graph(channels, channels)
    fold_upsampling(folded, FP32)
    request = compiled(folded, PERF_COUNT=True).create_infer_request()
    request.infer([random(2, channels, 32, 32), random(2, 1, *sides)])
    seconds: dict[str, float] = {}
    for node in request.profiling_info:
        took = node.real_time.total_seconds()
        seconds[node.node_type] = seconds.get(node.node_type, 0.0) + took
    busy, idle = (fast, "Convolution") if sides == (64, 64) else ("Convolution", fast)
    assert seconds.get(idle, 0.0) < seconds[busy] / 20


def test_of_a_fixed_size_that_doubles_one_way_is_left() -> None:
    plain, folded = sized_graph(MOST, MOST), sized_graph(MOST, MOST)
    for graph in (plain, folded):
        graph.reshape({0: [2, MOST, 4, 3], 1: [2, 1, 8, 6]})
    assert fold_upsampling(folded, FP32) == 1
    assert not kinds(folded) & {"Interpolate", "Convolution"}
    x, skipped = random(2, MOST, 4, 3), random(2, 1, 8, 6)
    expected, found = (results(graph, x, skipped) for graph in (plain, folded))
    np.testing.assert_allclose(found, expected, atol=ROUNDING)


def test_of_a_fixed_size_that_does_not_double_it_stays() -> None:
    graph = sized_graph(MOST, MOST)
    graph.reshape({0: [2, MOST, 4, 3], 1: [2, 1, 7, 6]})
    assert fold_upsampling(graph, FP32) == 0


def test_of_many_channels_it_is_faster_than_the_transposed_convolution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Measured alone: 1.3 times as fast."""
    tiled, transposed = scaled_graph(MOST, MOST), scaled_graph(MOST, MOST)
    fold_upsampling(tiled, FP32)
    monkeypatch.setattr("sdopt.engines.openvino.upsampling._LEAST_CHANNELS", MOST + 1)
    fold_upsampling(transposed, FP32)
    assert "ConvolutionBackpropData" in kinds(transposed)
    x = random(1, MOST, 32, 32)
    ours, other = seconds_of((tiled, transposed), x)
    assert ours < other


def test_in_bf16_the_error_of_tiles_is_little_more_than_twice_that_of_the_convolution() -> None:
    """Measured: 2.1 times."""
    plain, folded = scaled_graph(MOST, MOST), scaled_graph(MOST, MOST)
    fold_upsampling(folded, "bf16")
    direct, ours = bf16_errors(plain, folded, random(1, MOST, 16, 16))
    assert 0 < direct < ours < 2.5 * direct


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
    assert fold_upsampling(scaled_graph(**how), FP32) == 0


def test_a_large_picture_that_has_another_reader_stays() -> None:
    x = picture(FEW)
    large = doubled(x)
    y = convolved(large, FEW, FEW)
    assert fold_upsampling(openvino.Model([op.add(y, large)], [x], "read twice"), FP32) == 0


def test_few_weights_are_not_worth_parting_the_rows() -> None:
    assert fold_upsampling(sized_graph(channels=FEW), FP32) == 0


def test_weights_are_sums_of_the_convolutions() -> None:
    """In one dimension: each pixel of the large picture sees two of the small one."""
    kernel = np.zeros((1, 1, 3, 3), np.float32)
    kernel[0, 0, 1] = [1, 10, 100]
    row = transposed_weights(kernel)[0, 0].max(axis=0)
    assert row.tolist() == [100, 110, 11, 1]


def test_tiles_share_the_product_of_all_weights() -> None:
    kernel = np.zeros((1, 1, 3, 3), np.float32)
    kernel[0, 0, 1] = [1, 10, 100]
    sums = summed_weights(kernel, DOUBLED).reshape(3, 3)
    assert sums.tolist() == [[111, 1, 100], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("channels", [FEW, MOST])
def test_the_engine_folds_when_it_loads(channels: int, tmp_path: Path) -> None:
    plain = scaled_graph(channels, channels)
    engine = loaded(plain, tmp_path)
    assert ("FullyConnected" if channels == MOST else "Deconvolution") in kinds_run(engine)
    assert "Interpolate" not in kinds_run(engine)
    x = random(1, channels, 4, 4)
    np.testing.assert_allclose(engine.run({"x": x})["y"], results(plain, x), atol=ROUNDING)
