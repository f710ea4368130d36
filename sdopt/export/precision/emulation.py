"""What a graph of fewer bits gives on hardware that has them, computed where there is none.

ONNX Runtime's CPU provider has no kernels for bf16. It does run fp16, but in float32, without
rounding what passes from one operator to the next: an overflow that turns pictures black on a GPU
never shows. Here every operator is computed in float32 and each of its results is rounded, as by
hardware that multiplies in 16 bits and adds up in 32. Norms are taken apart, and every step of them
is rounded: TensorRT computes norms in the type of their input.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

_NARROW = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_ANY_TYPE = ("Cast", "Shape", "Size")
"""Operators that take any type as it is."""


def emulate(model: Path, out: Path) -> None:
    """Write a graph of float32 operators that computes what a graph of fewer bits computes.

    Args:
        model: A graph that :func:`sdopt.export.precision.lowering.lower` lowered.
        out: The new graph, in the same folder: it shares the weights beside the first.

    Raises:
        OSError: The disk is full or not writable.
    """
    assert out.parent == model.parent
    opened = ir.load(model)
    common.ShapeInferencePass()(opened)  # files hold no types of what lies between nodes
    for node in list(opened.graph):
        if node.op_type not in _ANY_TYPE:
            _emulate(opened.graph, node)
    ir.save(opened, out)


def _emulate(graph: ir.Graph, node: ir.Node) -> None:
    narrow = [value for value in node.outputs if value.dtype in _NARROW]
    if narrow and node.op_type in _NORM_AXES:
        _Norm(graph, node).take_apart()
        return
    for index, value in enumerate(node.inputs):
        if value is not None and value.dtype in _NARROW:
            node.replace_input_with(index, _cast(graph, node, value, ir.DataType.FLOAT))
    for value in narrow:
        _round(graph, node, value)


def _cast(graph: ir.Graph, before: ir.Node, value: ir.Value, to: ir.DataType) -> ir.Value:
    cast = ir.node("Cast", [value], {"to": to})
    cast.outputs[0].type = ir.TensorType(to)
    graph.insert_before(before, cast)
    return cast.outputs[0]


def _round(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Let a node give float32, and its readers what that is in fewer bits."""
    assert value.dtype is not None
    cast = ir.node("Cast", [value], {"to": value.dtype})
    rounded = cast.outputs[0]
    rounded.type, value.type = ir.TensorType(value.dtype), ir.TensorType(ir.DataType.FLOAT)
    for reader, index in tuple(value.uses()):
        if reader is not cast:
            reader.replace_input_with(index, rounded)
    _take_the_name(graph, value, rounded)
    graph.insert_after(node, cast)


def _take_the_name(graph: ir.Graph, value: ir.Value, successor: ir.Value) -> None:
    """Put a value in another's place among the graph's outputs, where it is one."""
    for index, output in enumerate(graph.outputs):
        if output is value:
            successor.name, value.name = value.name, f"{value.name}/wide"
            successor.shape = value.shape
            graph.outputs[index] = successor


_NORM_AXES = {"InstanceNormalization": 2, "LayerNormalization": -1}
"""Operators that are taken apart, and the axis over which they average. Group norms are traced to
instance norms of (batch, groups, values)."""


class _Norm:
    """A norm in fewer bits, step by step."""

    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        kind = node.outputs[0].dtype
        assert kind is not None
        self._graph, self._node, self._kind = graph, node, kind
        self._axes = self._constant(np.array([_NORM_AXES[node.op_type]], np.int64))

    def take_apart(self) -> None:
        """Replace the node by (x - mean) / sqrt(variance + epsilon) * scale + bias."""
        values, scale, bias = (self._input(index) for index in range(3))
        epsilon = self._constant(np.float32(self._node.attributes.get_float("epsilon", 1e-5)))
        centred = self._op("Sub", values, self._op("ReduceMean", values, self._axes))
        variance = self._op("ReduceMean", self._op("Mul", centred, centred), self._axes)
        deviation = self._op("Sqrt", self._op("Add", variance, epsilon))
        normed = self._op("Div", centred, deviation)
        result = self._op("Add", self._op("Mul", normed, scale), bias)
        narrow = _cast(self._graph, self._node, result, self._kind)
        old = self._node.outputs[0]
        _take_the_name(self._graph, old, narrow)
        old.replace_all_uses_with(narrow)
        self._graph.remove(self._node)

    def _input(self, index: int) -> ir.Value:
        """Return an input in float32; scale and bias of a channel lie along axis 1."""
        value = self._node.inputs[index]
        assert value is not None
        wide = _cast(self._graph, self._node, value, ir.DataType.FLOAT)
        if index == 0 or self._node.op_type != "InstanceNormalization":
            return wide
        return self._op("Reshape", wide, self._constant(np.array([1, -1, 1], np.int64)))

    def _op(self, kind: str, *inputs: ir.Value) -> ir.Value:
        """Compute in float32 and round."""
        node = ir.node(kind, inputs)
        self._graph.insert_before(self._node, node)
        narrow = _cast(self._graph, self._node, node.outputs[0], self._kind)
        return _cast(self._graph, self._node, narrow, ir.DataType.FLOAT)

    def _constant(self, numbers: Any) -> ir.Value:
        node = ir.node("Constant", [], {"value": ir.tensor(np.asarray(numbers))})
        self._graph.insert_before(self._node, node)
        return node.outputs[0]
