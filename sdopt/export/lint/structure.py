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


def attention_shape(graph: Graph) -> Iterator[Finding]:
    """Attention is fused where a product, a softmax and a product follow each other."""
    for node in graph.nodes:
        if node.op_type != "Softmax" or _product(graph, node.input[0]) is None:
            continue
        for reader in _readers(graph, node.output[0]):
            if reader.op_type != "MatMul":
                problem = (
                    f"the softmax of scores goes into {reader.op_type}; TensorRT fuses attention "
                    "where MatMul, Softmax and MatMul follow each other"
                )
                yield Finding("attention-shape", reader.name, problem)


def _maker(graph: Graph, name: str) -> Any | None:
    """Return the node that computes a tensor, through casts."""
    node = graph.maker(name)
    return _maker(graph, node.input[0]) if node is not None and node.op_type == "Cast" else node


def _readers(graph: Graph, name: str) -> Iterator[Any]:
    """Give the nodes that compute with a tensor, through casts."""
    for node in graph.nodes:
        if name in node.input:
            if node.op_type == "Cast":
                yield from _readers(graph, node.output[0])
            else:
                yield node


def _product(graph: Graph, scores: str) -> Any | None:
    """Return the MatMul of which scores are made, scaled or not and with or without a mask."""
    node = _maker(graph, scores)
    if node is not None and node.op_type in ("Add", "Mul", "Div"):
        found = (_product(graph, name) for name in node.input)
        return next((product for product in found if product is not None), None)
    return node if node is not None and node.op_type == "MatMul" else None


def _scaled_product(graph: Graph, scores: str) -> Any | None:
    """Return the Mul or Div between a MatMul and a Softmax (a mask may be added in between)."""
    node = _maker(graph, scores)
    if node is not None and node.op_type == "Add":
        makers = [_maker(graph, name) for name in node.input]
        node = next((m for m in makers if m is not None and m.op_type in ("Mul", "Div")), None)
    if node is None or node.op_type not in ("Mul", "Div"):
        return None
    made_by = [_maker(graph, name) for name in node.input]
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
