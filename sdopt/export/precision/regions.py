"""Find the nodes of a traced graph that an island holds."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

import onnx_ir as ir

from sdopt.export.precision.islands import Region

_CLASSES = "pkg.torch.onnx.class_hierarchy"
_PRODUCTS = ("MatMul", "Gemm", "Conv")


def nodes_of(graph: ir.Graph, region: Region) -> set[ir.Node]:
    """Return the nodes of a region.

    Args:
        graph: Simplified, with torch's metadata still on it.
        region: What to find.
    """
    return {
        *_of_modules(graph, region.modules),
        *_of_inputs(graph, region.inputs),
        *(_of_scores(graph) if region.scores else ()),
    }


def _of_modules(graph: ir.Graph, modules: Collection[str]) -> Iterator[ir.Node]:
    for node in graph:
        classes = ast.literal_eval(node.metadata_props.get(_CLASSES, "[]"))
        if any(name.rpartition(".")[2] in modules for name in classes):
            yield node


def _of_inputs(graph: ir.Graph, inputs: Collection[str]) -> Iterator[ir.Node]:
    waiting = [value for value in graph.inputs if value.name in inputs]
    seen: set[ir.Node] = set()
    while waiting:
        for node, _ in waiting.pop().uses():
            if node.op_type not in _PRODUCTS and node not in seen:
                seen.add(node)
                # Not through shapes: whatever is reshaped to a batch would belong to it.
                waiting.extend(v for v in node.outputs if v.dtype == ir.DataType.FLOAT)
                yield node


def _of_scores(graph: ir.Graph) -> Iterator[ir.Node]:
    for node in graph:
        if node.op_type == "Softmax":
            yield node
            yield from _up_to_the_product(node)


def _up_to_the_product(node: ir.Node) -> Iterator[ir.Node]:
    """Follow what a softmax is computed of: a mask may be added to the product."""
    for value in node.inputs:
        maker = None if value is None else value.producer()
        if maker is not None and maker.op_type in ("Add", "MatMul"):
            yield maker
            if maker.op_type == "Add":
                yield from _up_to_the_product(maker)
