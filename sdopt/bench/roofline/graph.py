"""Operations and bytes of an ONNX graph for inputs of given shapes; its weights are not read."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdopt.errors import BenchError, MissingDependencyError

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]
_MOST_FOLDED = 64
"""Elements of the largest tensor that is taken for an arithmetic of shapes."""


@dataclass(frozen=True, slots=True)
class Product:
    """A convolution or matrix product of the graph.

    Attributes:
        name: Of the node.
        operations: Multiplications and additions.
        least_operations: With which a backend can have the same result: a 3x3 convolution that
            keeps a picture's size needs 4 products for 9 (by Winograd's algorithm F(2x2, 3x3)), and
            1 for 4 if the picture was made twice as large by repeating its pixels.
    """

    name: str
    operations: int
    least_operations: int


@dataclass(frozen=True, slots=True)
class GraphWork:
    """What one run of a graph takes at the least.

    Attributes:
        products: Its convolutions and matrix products, in which next to all operations are.
        weights: Elements of all weights; of tables in which rows are looked up, of those rows.
        tensors: Elements of the graph's inputs and outputs.
    """

    products: tuple[Product, ...]
    weights: int
    tensors: int

    @property
    def operations(self) -> int:
        """Multiplications and additions of all products."""
        return sum(product.operations for product in self.products)

    @property
    def least_operations(self) -> int:
        """Those with which a backend can have the same result."""
        return sum(product.least_operations for product in self.products)

    @property
    def elements(self) -> int:
        """What must be read or written once: weights, inputs and outputs."""
        return self.weights + self.tensors


def graph_work(path: Path, inputs: Mapping[str, Shape]) -> GraphWork:
    """Count what one run takes.

    Args:
        path: An ONNX file.
        inputs: The shape of every input.

    Raises:
        MissingDependencyError: onnx is not installed.
        BenchError: The shape of a product cannot be found out.
    """
    model = _with_shapes(_load(path), inputs)
    graph = model.graph
    shapes = _shapes(graph) | {weight.name: tuple(weight.dims) for weight in graph.initializer}
    doubled = _doubled(graph, shapes)
    products = [
        _product(node, *_known(node, shapes, path), doubled)
        for node in graph.node
        if node.op_type in _OPERATIONS
    ]
    outputs = [shapes[output.name] for output in graph.output]
    return GraphWork(
        products=tuple(products),
        weights=_read_of_weights(graph, shapes),
        tensors=sum(map(math.prod, [*inputs.values(), *outputs])),
    )


def _product(
    node: onnx.NodeProto, inputs: Sequence[Shape], output: Shape, doubled: Collection[str]
) -> Product:
    operations = _OPERATIONS[node.op_type](node, inputs, output)
    same_size_3x3 = (
        node.op_type == "Conv" and inputs[1][2:] == (3, 3) and inputs[0][2:] == output[2:]
    )
    if not same_size_3x3:
        return Product(node.name, operations, operations)
    least = operations // 4 if node.input[0] in doubled else operations * 4 // 9
    return Product(node.name, operations, least)


def _doubled(graph: onnx.GraphProto, shapes: Mapping[str, Shape]) -> set[str]:
    """Return the pictures that were made twice as large by repeating their pixels."""
    return {
        node.output[0]
        for node in graph.node
        if node.op_type == "Resize"
        and any(a.name == "mode" and a.s == b"nearest" for a in node.attribute)
        and node.input[0] in shapes
        and shapes.get(node.output[0], ())[2:] == tuple(2 * s for s in shapes[node.input[0]][2:])
    }


def _read_of_weights(graph: onnx.GraphProto, shapes: Mapping[str, Shape]) -> int:
    """Return how many elements of weights a run must read."""
    elements = {weight.name: math.prod(weight.dims) for weight in graph.initializer}
    casts = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Cast"}
    for node in graph.node:
        if node.op_type == "Gather" and node.output[0] in shapes:
            table = casts.get(node.input[0], node.input[0])
            if table in elements:
                elements[table] = min(elements[table], math.prod(shapes[node.output[0]]))
    return sum(elements.values())


def _load(path: Path) -> onnx.ModelProto:
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError("onnx", "bench") from error
    return onnx.load(str(path), load_external_data=False)


def _with_shapes(model: onnx.ModelProto, inputs: Mapping[str, Shape]) -> onnx.ModelProto:
    """Fix the inputs' shapes, and infer all others.

    ONNX's inference does not follow all arithmetic of shapes (``Shape``, ``Mul``, ``Resize``), so
    what can be computed from known shapes is computed and put in as a constant, until nothing new
    is found.
    """
    from onnx import shape_inference

    del model.graph.value_info[:]
    for value in model.graph.input:
        for dimension, size in zip(
            value.type.tensor_type.shape.dim, inputs[value.name], strict=True
        ):
            dimension.dim_value = size
    while True:
        model = shape_inference.infer_shapes(model, data_prop=True)
        if not _fold(model.graph):
            return model


def _fold(graph: onnx.GraphProto) -> bool:
    """Replace small integer nodes whose inputs are known; say whether there was any."""
    from onnx import numpy_helper

    shapes = _shapes(graph)
    known: dict[str, Any] = {
        weight.name: numpy_helper.to_array(weight)
        for weight in graph.initializer
        if not weight.external_data and math.prod(weight.dims) <= _MOST_FOLDED
    }
    kept, found = [], []
    for node in graph.node:
        values = _values(node, known, shapes)
        if values is None:
            kept.append(node)
            continue
        known |= values
        found += [numpy_helper.from_array(value, name) for name, value in values.items()]
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(found)
    return bool(found)


def _values(
    node: onnx.NodeProto, known: Mapping[str, Any], shapes: Mapping[str, Shape]
) -> dict[str, Any] | None:
    """Compute a node of an arithmetic of shapes; None for any other node."""
    from onnx.reference import ReferenceEvaluator

    if node.op_type == "Shape":
        if node.input[0] not in shapes:
            return None
        inputs = {node.input[0]: np.empty(shapes[node.input[0]], np.bool_)}
    elif node.op_type in _ARITHMETIC and all(name in known for name in node.input if name):
        inputs = {name: known[name] for name in node.input if name}
    else:
        return None
    results = ReferenceEvaluator(node).run(None, inputs)
    found = dict(zip(node.output, map(np.asarray, results), strict=True))
    return found if all(value.size <= _MOST_FOLDED for value in found.values()) else None


_ARITHMETIC = frozenset(
    ("Add", "Cast", "Concat", "Constant", "Div", "Floor", "Gather", "Mul", "ReduceProd", "Reshape")
) | frozenset(("Slice", "Squeeze", "Sub", "Unsqueeze"))


def _shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    """Return the shapes that are known in full."""
    found = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dimensions = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(
            dimension.HasField("dim_value") for dimension in dimensions
        ):
            found[value.name] = tuple(dimension.dim_value for dimension in dimensions)
    return found


def _known(
    node: onnx.NodeProto, shapes: Mapping[str, Shape], path: Path
) -> tuple[Sequence[Shape], Shape]:
    """Return the shapes of a node's inputs and of its first output."""
    missing = [name for name in (*node.input[:2], node.output[0]) if name not in shapes]
    if missing:
        raise BenchError(
            f"{path}: the shapes of {', '.join(missing)} cannot be found out, so the operations of "
            f"{node.name} cannot be counted. Measure without --profile."
        )
    return [shapes[name] for name in node.input[:2]], shapes[node.output[0]]


def _convolution(_: onnx.NodeProto, inputs: Sequence[Shape], output: Shape) -> int:
    """Each output value is a sum over the kernel and the input channels of its group."""
    return 2 * math.prod(output) * math.prod(inputs[1][1:])


def _transposed_convolution(_: onnx.NodeProto, inputs: Sequence[Shape], __: Shape) -> int:
    """Each input value goes into the kernel and the output channels of its group."""
    return 2 * math.prod(inputs[0]) * math.prod(inputs[1][1:])


def _matrix_product(_: onnx.NodeProto, inputs: Sequence[Shape], output: Shape) -> int:
    return 2 * math.prod(output) * inputs[0][-1]


def _general_matrix_product(node: onnx.NodeProto, inputs: Sequence[Shape], output: Shape) -> int:
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return 2 * math.prod(output) * inputs[0][0 if transposed else 1]


_OPERATIONS: Mapping[str, Callable[[onnx.NodeProto, Sequence[Shape], Shape], int]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "MatMul": _matrix_product,
    "Gemm": _general_matrix_product,
}
