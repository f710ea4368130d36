"""How a graph lies on disk: weights beside it in one file, in float16 where that is exact."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx_ir as ir

_SMALLEST_HALF = 1024
_ALIGNED_FROM_BYTES = 1 << 20


def store_as_half(graph: ir.Graph, names: Collection[str]) -> None:
    """Store parameters in float16 and cast them to float32 in the graph, in place.

    Args:
        graph: A cleaned graph that computes in float32.
        names: Parameters whose values are float16 numbers, so that nothing is lost.
    """
    places = {node: place for place, node in enumerate(graph)}
    for name, value in list(graph.initializers.items()):
        wide = value.const_value
        exact = name.removesuffix(".transposed") in names
        if (
            exact
            and wide is not None
            and wide.dtype == ir.DataType.FLOAT
            and wide.size >= _SMALLEST_HALF
        ):
            readers = (reader for reader, _ in value.uses())
            _halve(graph, value, wide, min(readers, key=places.__getitem__))


def save(model: ir.Model, path: Path) -> None:
    """Write ``path`` and its weights beside it, in one file called ``{path.name}_data``.

    The weights are streamed: at most one transposed or narrowed copy is in memory at a time.

    Raises:
        OSError: The disk is full or not writable.
    """
    ir.save(
        model,
        path,
        external_data=f"{path.name}_data",
        size_threshold_bytes=_SMALLEST_HALF,
        alignment=1 << 16,
        align_threshold=_ALIGNED_FROM_BYTES,
    )


def _halve(graph: ir.Graph, value: ir.Value, wide: ir.TensorProtocol, reader: ir.Node) -> None:
    """Cast a weight just before its first reader, so that it need not be wide for longer."""
    name = value.name
    assert name is not None
    narrow = ir.LazyTensor(
        lambda: ir.tensor(wide.numpy().astype(np.float16)),
        dtype=ir.DataType.FLOAT16,
        shape=ir.Shape(wide.shape.numpy()),
        name=name,
    )
    del graph.initializers[name]
    stored = ir.Value(
        name=name, shape=narrow.shape, type=ir.TensorType(ir.DataType.FLOAT16), const_value=narrow
    )
    graph.register_initializer(stored)
    cast = ir.node("Cast", [stored], {"to": ir.DataType.FLOAT}, name=f"{name}/Cast")
    cast.outputs[0].name = f"{name}/Cast"
    value.replace_all_uses_with(cast.outputs[0])
    graph.insert_before(reader, cast)
