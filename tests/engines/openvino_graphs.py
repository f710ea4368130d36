"""Small graphs for the tests of how OpenVINO's are changed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from openvino import opset13 as op

from sdopt.engines.contract import Array
from sdopt.engines.openvino import OpenVinoEngine
from sdopt.engines.options import EngineOptions, Model

FEW = 8
ROUNDING = 3e-5
"""Between sums of values around 1 in another order, in fp32."""


def random(*shape: int, seed: int = 0, scale: float = 1) -> Array:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def ints(*values: int) -> Any:
    return op.constant(np.array(values, np.int64))


def picture(channels: int) -> Any:
    return op.parameter([-1, channels, -1, -1], np.float32)


def convolved(
    x: Any, inputs: int, outputs: int, *, side: int = 3, stride: int = 1, pad: int = 1
) -> Any:
    """Convolve with weights that keep the size of values, stored in fp16."""
    weights = random(outputs, inputs, side, side, scale=1 / (side * inputs**0.5))
    half = op.convert(op.constant(weights.astype(np.float16)), "f32")
    return op.convolution(x, half, [stride] * 2, [pad] * 2, [pad] * 2, [1, 1])


def biased(x: Any, channels: int) -> Any:
    return op.add(x, op.constant(random(1, channels, 1, 1, seed=1)))


def kinds(graph: Any) -> set[str]:
    return {node.get_type_name() for node in graph.get_ops()}


def compiled(graph: Any, precision: str = "f32", **more: Any) -> Any:
    config = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY", **more}
    return openvino.Core().compile_model(graph, "CPU", config)


def results(graph: Any, *inputs: Array, precision: str = "f32") -> Array:
    return np.array(compiled(graph, precision)(list(inputs))[0])


def seconds_of(graphs: Sequence[Any], x: Array) -> list[float]:
    """Run graphs in turn, in fp32; return the median time of each."""
    requests = [compiled(graph).create_infer_request() for graph in graphs]
    seconds: list[list[float]] = [[] for _ in requests]
    for _ in range(8):
        for request, times in zip(requests, seconds, strict=True):
            begin = time.perf_counter()
            request.infer([x], share_inputs=True)
            times.append(time.perf_counter() - begin)
    return [statistics.median(times[1:]) for times in seconds]


def bf16_errors(plain: Any, changed: Any, x: Array) -> tuple[float, float]:
    """Return how far both are in bf16 from the plain one in fp32, or skip where there is no bf16.

    Values are given and taken in fp32; in bf16 those round as well.
    """
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bf16")
    exact = results(plain, x)
    direct, ours = (
        float(np.std(results(graph, x, precision="bf16") - exact)) for graph in (plain, changed)
    )
    return direct, ours


def loaded(graph: Any, folder: Path) -> OpenVinoEngine:
    """Load a graph of one picture in fp32, as a VAE's decoder from "x" to "y"."""
    path = folder / "model.xml"
    graph.inputs[0].set_names({"x"})
    graph.outputs[0].set_names({"y"})
    openvino.save_model(graph, path, compress_to_fp16=False)
    return OpenVinoEngine(Model("vae_decoder", path), EngineOptions(precision="fp32"))


def kinds_run(engine: OpenVinoEngine) -> set[str]:
    """Return the kinds of nodes that OpenVINO made of its graph."""
    return {
        node.get_rt_info()["layerType"].astype(str)
        for node in engine._compiled.get_runtime_model().get_ops()
    }
