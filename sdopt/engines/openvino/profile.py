"""OpenVINO's own profiler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sdopt.engines.contract import Array
from sdopt.engines.openvino.backend import Backend
from sdopt.engines.options import EngineOptions, Model
from sdopt.engines.profiling import NodeTime, mean_times

if TYPE_CHECKING:
    import openvino as ov

_Node = tuple[str, str]


def profile(
    model: Model, options: EngineOptions, inputs: Mapping[str, Array], runs: int
) -> list[NodeTime]:
    """Profile runs of a component after one that warms up. See :mod:`sdopt.engines.profiling`."""
    request = Backend(options).profiled(model).create_infer_request()
    request.infer(dict(inputs))
    warmup = _seconds(request, 1)
    for _ in range(runs):
        request.infer(dict(inputs))
    seconds = _seconds(request, 1 + runs)
    return mean_times(
        runs, [(*node, total - warmup.get(node, 0.0)) for node, total in seconds.items()]
    )


def _seconds(request: ov.InferRequest, runs: int) -> dict[_Node, float]:
    """Return the time of each node in all runs so far: OpenVINO tells the mean over them."""
    return {
        (node.node_name, f"{node.node_type} {node.exec_type}"): node.real_time.total_seconds()
        * runs
        for node in request.profiling_info
        if node.status == node.Status.EXECUTED
    }
