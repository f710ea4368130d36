"""OpenVINO's own profiler."""

from __future__ import annotations

from collections.abc import Mapping

from sdopt.engines.contract import Array
from sdopt.engines.openvino.backend import Backend
from sdopt.engines.options import EngineOptions, Model
from sdopt.engines.profiling import NodeTime, mean_times


def profile(
    model: Model, options: EngineOptions, inputs: Mapping[str, Array], runs: int
) -> list[NodeTime]:
    """Profile runs of a component after one that warms up. See :mod:`sdopt.engines.profiling`."""
    request = Backend(options).profiled(model).create_infer_request()
    request.infer(dict(inputs))
    timed = []
    for _ in range(runs):
        request.infer(dict(inputs))
        timed += [
            (node.node_name, f"{node.node_type} {node.exec_type}", node.real_time.total_seconds())
            for node in request.profiling_info
            if node.status == node.Status.EXECUTED
        ]
    return mean_times(runs, timed)
