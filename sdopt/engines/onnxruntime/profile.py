"""Where ONNX Runtime spends its time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from sdopt.engines.contract import Array
from sdopt.engines.onnxruntime.backend import library
from sdopt.engines.onnxruntime.fused_graph import fused_graph
from sdopt.engines.onnxruntime.session import open_session, session_options
from sdopt.engines.onnxruntime.targets import TARGETS
from sdopt.engines.options import EngineOptions, Model
from sdopt.engines.profiling import NodeTime, mean_times

_KERNEL = "_kernel_time"
"""Ends the names of the events in a profile that are runs of nodes."""


def profile(
    model: Model, options: EngineOptions, inputs: Mapping[str, Array], runs: int
) -> list[NodeTime]:
    """Profile runs of a component after one that warms up. See :mod:`sdopt.engines.profiling`."""
    ort, target = library(options.device), TARGETS[options.device]()
    graph = fused_graph(ort.__version__, model, options, target)
    settings = session_options(ort, model, options)
    settings.enable_profiling = True
    with TemporaryDirectory() as folder:
        settings.profile_file_prefix = str(Path(folder) / "profile")
        session = open_session(ort, model, graph, settings, target)
        for _ in range(1 + runs):
            session.run(None, dict(inputs))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    kernels = [e for e in events if e.get("cat") == "Node" and e["name"].endswith(_KERNEL)]
    measured = kernels[len(kernels) // (1 + runs) :]
    return mean_times(
        runs,
        ((e["name"].removesuffix(_KERNEL), e["args"]["op_name"], e["dur"] / 1e6) for e in measured),
    )
