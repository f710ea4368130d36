"""Run exported graphs, and the checkpoint that they come from, in this room's tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime as ort

from sdopt.engines.cores import threads_of


@dataclass(frozen=True)
class Tiny:
    """A checkpoint, and what torch computes from it (reference pairs by component)."""

    checkpoint: Path
    expected: Path


def run_graph(
    model: Path, inputs: Sequence[Mapping[str, Any]], *, optimized: bool = True
) -> list[dict[str, Any]]:
    """Run a graph on ONNX Runtime, in this process: the graphs are tiny."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads_of(None) or 0  # bits may depend on how many there are
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return [dict(zip(names, session.run(names, dict(arrays)), strict=True)) for arrays in inputs]


as_written = partial(run_graph, optimized=False)
"""Runs a graph as `sdopt.export` does."""
