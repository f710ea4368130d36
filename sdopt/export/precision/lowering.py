"""Write a float32 graph in fewer bits: constants stored narrow, and casts around the islands.

A pure function of the graph, so that two exports give the same bytes. Every node computes in one
type: float32 in an island, the narrow type elsewhere. That is what strongly typed TensorRT asks
for, and what no operator with operands of two types would give.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import ml_dtypes
import numpy as np
import onnx_ir as ir

from sdopt.bundle.manifest import Precision
from sdopt.bundle.tensors import TensorSpec
from sdopt.export.precision.islands import Island
from sdopt.export.precision.regions import nodes_of

_WIDE = ir.DataType.FLOAT
_NARROW = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}
_DOORS = {"float32": ir.DataType.FLOAT, "float16": ir.DataType.FLOAT16}
_FLOAT32_INPUTS = {"Resize": (1, 2)}
"""Inputs whose type is float32 whatever the operator computes in."""
_ALWAYS_WIDE = ("ConstantOfShape",)
"""Operators whose type stands in an attribute."""
_COMPARISONS = ("Less", "Greater", "Equal", "LessOrEqual", "GreaterOrEqual")


def lower(
    graph: ir.Graph,
    precision: Precision,
    islands: Sequence[Island],
    doors: Sequence[TensorSpec],
) -> dict[str, int]:
    """Lower a graph in place.

    Args:
        graph: Computes in float32; simplified, with torch's metadata still on it.
        precision: ``"fp16"`` or ``"bf16"``.
        islands: What stays in float32; none of them a whole network.
        doors: Specs of the graph's inputs and outputs, which tell their types.

    Returns:
        How many nodes each island holds. A node that several hold counts for the first.
    """
    held: dict[ir.Node, str] = {}
    for island in islands:
        assert island.region is not None
        for node in nodes_of(graph, island.region):
            if any(value.dtype == _WIDE for value in node.outputs):
                held.setdefault(node, island.name)
    types = {spec.name: _DOORS[spec.dtype] for spec in doors if spec.dtype in _DOORS}
    _Lowering(graph, _NARROW[precision], held, types).run()
    counts = Counter(held.values())
    return {island.name: counts[island.name] for island in islands}


class _Lowering:
    """One graph on its way down, changed in place."""

    def __init__(
        self,
        graph: ir.Graph,
        narrow: ir.DataType,
        held: Collection[ir.Node],
        doors: Mapping[str, ir.DataType],
    ) -> None:
        self._graph, self._narrow, self._held, self._doors = graph, narrow, held, doors
        values = (*graph.inputs, *graph.initializers.values(), *_outputs(graph))
        self._floats = {value for value in values if value.dtype == _WIDE}
        self._made: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def run(self) -> None:
        """Give each value its type, and put a cast wherever a reader wants another."""
        nodes = list(self._graph)
        for value in self._floats.intersection(self._graph.inputs):
            value.type = ir.TensorType(self._doors[_name(value)])
        for value in self._floats.intersection(_outputs(self._graph)):
            maker = value.producer()
            assert maker is not None
            value.type = ir.TensorType(self._type(maker))
        for node in nodes:
            self._convert_inputs(node)
        self._convert_outputs()
        self._exchange_constants()

    def _type(self, node: ir.Node) -> ir.DataType:
        wide = node in self._held or node.op_type in _ALWAYS_WIDE
        return _WIDE if wide else self._narrow

    def _convert_inputs(self, node: ir.Node) -> None:
        if node.op_type == "Cast":
            if node.attributes.get_int("to") == _WIDE:
                node.attributes["to"] = ir.AttrInt64("to", int(self._type(node)))
            return
        # What gives no float, such as Shape, takes any type as it is.
        gives_float = not self._floats.isdisjoint(node.outputs)
        if not gives_float and node.op_type not in _COMPARISONS:
            return
        kept = _FLOAT32_INPUTS.get(node.op_type, ())
        for index, value in enumerate(node.inputs):
            if value is not None and value in self._floats:
                wanted = _WIDE if index in kept else self._type(node)
                node.replace_input_with(index, self._as(value, wanted, node))

    def _as(self, value: ir.Value, wanted: ir.DataType, reader: ir.Node) -> ir.Value:
        """Return a value in another type; one cast serves all of its readers."""
        if value.dtype == wanted:
            return value
        if (value, wanted) not in self._made:
            made = narrowed(value, wanted) if value.is_initializer() else None
            self._made[value, wanted] = made or self._cast(value, wanted, reader)
        return self._made[value, wanted]

    def _cast(self, value: ir.Value, wanted: ir.DataType, reader: ir.Node) -> ir.Value:
        """Insert a cast behind the node that makes a value; of inputs, at the beginning."""
        maker = value.producer()
        cast = ir.node("Cast", [value], {"to": wanted})
        cast.metadata_props.update((maker or reader).metadata_props)
        cast.outputs[0].shape, cast.outputs[0].type = value.shape, ir.TensorType(wanted)
        if maker is None:
            self._graph.insert_before(self._graph[0], cast)
        else:
            self._graph.insert_after(maker, cast)
        return cast.outputs[0]

    def _convert_outputs(self) -> None:
        """Give each output the type of its door, under its own name."""
        for index, value in enumerate(self._graph.outputs):
            if value not in self._floats or value.dtype == self._doors[_name(value)]:
                continue
            name, maker = _name(value), value.producer()
            assert maker is not None
            value.name = None
            self._graph.outputs[index] = self._cast(value, self._doors[name], maker)
            self._graph.outputs[index].name = name

    def _exchange_constants(self) -> None:
        """Drop float32 constants that no one reads, and register what took their place."""
        constants = self._graph.initializers
        for name in [n for n, v in constants.items() if v in self._floats and not v.uses()]:
            del constants[name]
        for value in self._made.values():
            if value.const_value is not None:
                if _name(value) in constants:
                    value.name = f"{value.name}.narrow"
                self._graph.register_initializer(value)


def _outputs(graph: ir.Graph) -> list[ir.Value]:
    return [value for node in graph for value in node.outputs]


def narrowed(value: ir.Value, wanted: ir.DataType) -> ir.Value:
    """Return a new initialiser that holds another's numbers in a type of fewer bits.

    The copy is made when it is written, one tensor at a time. Numbers beyond the type, such as the
    lowest float32 in a mask, become half of its largest, so that adding to them does not overflow.
    """
    wide = value.const_value
    assert wide is not None
    kind = wanted.numpy()
    limit = float(ml_dtypes.finfo(kind).max)

    def convert() -> ir.TensorProtocol:
        numbers = wide.numpy()
        with np.errstate(over="ignore"):
            found = numbers.astype(kind)
        if not np.isfinite(found).all():
            inside = np.clip(numbers, -limit / 2, limit / 2)
            found = np.where(np.isfinite(found), found, inside.astype(kind))
        return ir.tensor(np.ascontiguousarray(found), dtype=wanted)

    shape = ir.Shape(wide.shape.numpy())
    tensor = ir.LazyTensor(convert, dtype=wanted, shape=shape, name=_name(value))
    return ir.Value(name=value.name, shape=shape, type=ir.TensorType(wanted), const_value=tensor)


def _name(value: ir.Value) -> str:
    assert value.name is not None
    return value.name
