"""OpenVINO: 3x3 convolutions by Winograd's algorithm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

openvino = pytest.importorskip("openvino", reason="needs sdopt[openvino]")

from openvino import opset13 as op  # noqa: E402 - after the check for the package

from sdopt.engines.openvino.tiles import summed_weights  # noqa: E402
from sdopt.engines.openvino.winograd import WINOGRAD, use_winograd  # noqa: E402
from tests.engines.openvino_graphs import (  # noqa: E402
    FEW,
    ROUNDING,
    bf16_errors,
    biased,
    compiled,
    convolved,
    kinds,
    kinds_run,
    loaded,
    picture,
    random,
    results,
    seconds_of,
)

MANY = 256
FP32 = "fp32"


def graph(inputs: int = MANY, outputs: int = MANY, *, bias: bool = True, **how: int) -> Any:
    x = picture(inputs)
    y = convolved(x, inputs, outputs, **how)
    y = biased(y, outputs) if bias else y
    return openvino.Model([op.relu(y)], [x], "graph")


def both(precision: str = FP32, **how: Any) -> tuple[Any, Any]:
    """Return a graph as it was and one that was changed."""
    plain, changed = graph(**how), graph(**how)
    assert use_winograd(changed, 8, precision) == 1
    return plain, changed


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (2, 5, 8), (3, 8, 7), (2, 9, 5), (1, 1, 1), (1, 2, 1)], ids=str
)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_it_is_the_same_convolution(shape: tuple[int, int, int], bias: bool) -> None:
    rows, *sides = shape
    x = random(rows, MANY, *sides)
    plain, changed = both(bias=bias, outputs=MANY + 64)
    assert "Convolution" not in kinds(changed)
    expected, found = results(plain, x), results(changed, x)
    assert found.shape == expected.shape == (rows, MANY + 64, *sides)
    np.testing.assert_allclose(found, expected, atol=ROUNDING)


def test_one_compiled_graph_serves_all_sizes_in_any_order() -> None:
    models = [compiled(model) for model in both()]
    for rows, height, width in [(1, 8, 8), (2, 8, 8), (1, 7, 9), (1, 8, 8), (3, 16, 2)]:
        x = random(rows, MANY, height, width, seed=height * width)
        expected, found = (np.array(model([x])[0]) for model in models)
        np.testing.assert_allclose(found, expected, atol=ROUNDING)


def test_a_bias_that_is_no_bias_is_left_where_it_is() -> None:
    """What is added has a value per pixel, or someone else reads the convolution too."""
    for shape, twice in [((1, MANY, 8, 8), False), ((1, 1, 1, 1), False), ((1, MANY, 1, 1), True)]:
        made = []
        for _ in range(2):
            x = picture(MANY)
            y = convolved(x, MANY, MANY)
            added = op.add(y, op.constant(random(*shape, seed=1)))
            made.append(openvino.Model([op.multiply(added, y) if twice else added], [x], "added"))
        assert use_winograd(made[1], 8, FP32) == 1
        x = random(1, MANY, 8, 8)
        np.testing.assert_allclose(results(made[1], x), results(made[0], x), atol=2 * ROUNDING)


@pytest.mark.parametrize(
    "how",
    [
        {"inputs": FEW},
        {"outputs": FEW},
        {"side": 1, "pad": 0},
        {"side": 5, "pad": 2},
        {"stride": 2},
        {"pad": 0},
    ],
    ids=str,
)
def test_other_convolutions_stay_as_they_are(how: dict[str, int]) -> None:
    assert use_winograd(graph(**how), 16, FP32) == 0


@pytest.mark.parametrize(("side", "replaced"), [(7, 0), (8, 1), (16, 2), (32, 3)])
def test_only_where_pictures_are_large_enough(side: int, replaced: int) -> None:
    """Three levels, each half as large as the one before; the graph itself takes any size."""
    x = picture(MANY)
    y = convolved(x, MANY, MANY)
    for _ in range(2):
        y = convolved(convolved(y, MANY, FEW, stride=2), FEW, MANY, side=1, pad=0)
        y = convolved(y, MANY, MANY)
    model = openvino.Model([y], [x], "levels")
    assert use_winograd(model, side, FP32) == replaced
    assert model.inputs[0].get_partial_shape()[2].is_dynamic


@pytest.mark.parametrize(("side", "replaced"), [(6, 0), (8, 1)])
def test_a_graph_for_one_size(side: int, replaced: int) -> None:
    made = []
    for _ in range(2):
        x = op.parameter([2, MANY, side, 9], np.float32)
        made.append(openvino.Model([biased(convolved(x, MANY, MANY), MANY)], [x], "one size"))
    plain, changed = made
    assert use_winograd(changed, 32, FP32) == replaced
    x = random(2, MANY, side, 9)
    np.testing.assert_allclose(results(changed, x), results(plain, x), atol=ROUNDING)


def test_what_is_behind_an_upsampling_stays_for_the_other_rule() -> None:
    x = picture(MANY)
    scales = op.constant(np.array([1, 1, 2, 2], np.float32))
    large = op.interpolate(
        x, scales, "nearest", "scales", coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )  # fmt: skip
    model = openvino.Model([convolved(large, MANY, MANY)], [x], "upsampled")
    assert use_winograd(model, 8, FP32) == 0


def test_sums_of_a_weight_in_the_middle() -> None:
    kernel = np.zeros((1, 2, 3, 3), np.float32)
    kernel[0, 1, 1, 1] = 4
    one_way = np.array([0, 0.5, -0.5, 0])
    sums = summed_weights(kernel, WINOGRAD)
    assert sums.shape == (16, 1, 2)
    assert not sums[:, 0, 0].any()
    np.testing.assert_array_equal(sums[:, 0, 1].reshape(4, 4), 4 * np.outer(one_way, one_way))


def test_in_bf16_the_error_is_little_more_than_twice_that_of_the_convolution() -> None:
    """Measured: 2.2 times."""
    direct, ours = bf16_errors(*both("bf16"), random(1, MANY, 32, 32))
    assert 0 < direct < ours < 2.5 * direct


def test_weights_are_kept_in_bf16_rounded_to_the_nearest() -> None:
    _, changed = both("bf16")
    (kept,) = (
        node
        for node in changed.get_ops()
        if node.get_type_name() == "Constant" and node.get_element_type() == openvino.Type.bf16
    )
    weights = random(MANY, MANY, 3, 3, scale=1 / (3 * MANY**0.5)).astype(np.float16)
    exact = summed_weights(weights.astype(np.float32), WINOGRAD)
    found = (kept.data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    _, exponents = np.frexp(exact)  # of eight bits, the last is 2**-8 of the next power of two
    assert np.all(np.abs(found - exact) <= np.ldexp(2.0**-9, exponents))


def test_it_is_faster() -> None:
    """Measured alone: 1.7 times as fast."""
    x = random(1, 512, 64, 64)
    direct, ours = seconds_of(both(inputs=512, outputs=512), x)
    assert ours < direct


def test_the_engine_does_it_when_it_loads(tmp_path: Path) -> None:
    plain = graph()
    engine = loaded(plain, tmp_path)
    assert "FullyConnected" in kinds_run(engine)
    assert "Convolution" not in kinds_run(engine)
    x = random(2, MANY, 6, 5)
    np.testing.assert_allclose(engine.run({"x": x})["y"], results(plain, x), atol=ROUNDING)
