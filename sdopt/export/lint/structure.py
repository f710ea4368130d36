"""Rules about what several nodes, or the files, make together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from onnx import TensorProto

from sdopt.export.lint.findings import Finding, Graph

_LARGEST_FILE = 2**31 - 1
"""Bytes: protobuf reads no larger message."""


def attention_scale(graph: Graph) -> Iterator[Finding]:
    """Attention is fused where Q or K is scaled before their product, not the scores after it."""
    for node in graph.nodes:
        if node.op_type != "Softmax":
            continue
        scaled = _scaled_product(graph, node.input[0])
        if scaled is not None:
            problem = (
                "the scores are scaled after the product of Q and K; TensorRT fuses attention, and "
                "fp16 overflows less, where Q is scaled before it"
            )
            yield Finding("attention-scale", scaled.name, problem)


def _scaled_product(graph: Graph, scores: str) -> Any | None:
    """Return the Mul or Div between a MatMul and a Softmax (a mask may be added in between)."""
    node = graph.maker(scores)
    if node is not None and node.op_type == "Add":
        makers = [graph.maker(name) for name in node.input]
        node = next((m for m in makers if m is not None and m.op_type in ("Mul", "Div")), None)
    if node is None or node.op_type not in ("Mul", "Div"):
        return None
    made_by = [graph.maker(name) for name in node.input]
    return node if any(m is not None and m.op_type == "MatMul" for m in made_by) else None


def external_data(graph: Graph) -> Iterator[Finding]:
    """Weights lie in one file beside the graph, all of them inside it."""
    if (size := graph.path.stat().st_size) > _LARGEST_FILE:
        yield Finding("file-size", "", f"{size} bytes; protobuf reads {_LARGEST_FILE} at most")
    places: set[str] = set()
    for name, tensor in graph.initializers.items():
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entry = {pair.key: pair.value for pair in tensor.external_data}
        places.add(entry["location"])
        if problem := _misplaced(graph, entry):
            yield Finding("external-data", name, problem)
    if len(places) > 1:
        files = ", ".join(sorted(places))
        yield Finding("external-data", "", f"weights lie in several files: {files}; one is allowed")


def _misplaced(graph: Graph, entry: dict[str, str]) -> str:
    location = entry["location"]
    if len(PurePosixPath(location).parts) != 1 or location == "..":
        return f"{location!r} is not a file beside the graph"
    file = graph.folder / location
    if not file.is_file():
        return f"{location} is missing"
    end = int(entry.get("offset", "0")) + int(entry.get("length", "0"))
    size = file.stat().st_size
    return f"it ends at byte {end} of {location}, which has {size}" if end > size else ""
