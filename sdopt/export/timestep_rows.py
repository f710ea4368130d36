"""A UNet graph with one timestep per call, rewritten to one with a timestep for each row.

What torch writes is ``timestep`` (a scalar), made a vector of one, and expanded to the batch. With
a vector as long as the batch from the start, the first becomes superfluous and the second does
nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdopt.errors import OnnxFolderError

_TIMESTEP = "timestep"
_SAME_SHAPE = ("Cast", "Identity")
_TO_VECTOR = ("Unsqueeze", "Reshape")


def rewrite(source: Path, out: Path) -> None:
    """Read a UNet's graph and write it with float32 timesteps, one per row.

    Weights that lie in files of their own are left there.

    Args:
        source: The graph, with any float or integer ``timestep`` of shape (), (1,) or (batch,).
        out: Where the new graph goes.

    Raises:
        OnnxFolderError: The graph uses its timestep in a way that is not known.
    """
    import onnx

    model = onnx.load(source, load_external_data=False)
    graph = model.graph
    old = next(value for value in graph.input if value.name == _TIMESTEP)
    tensor = old.type.tensor_type
    rank, kind = len(tensor.shape.dim), tensor.elem_type
    if rank > 1:
        raise OnnxFolderError(source, f"its timestep has {rank} dimensions", _HINT)
    batch = next(v for v in graph.input if v.name == "sample").type.tensor_type.shape.dim[0]
    row = batch.dim_param or batch.dim_value
    old.CopyFrom(onnx.helper.make_tensor_value_info(_TIMESTEP, onnx.TensorProto.FLOAT, [row]))
    if rank == 0:
        _keep_vector(source, graph)
    if kind != onnx.TensorProto.FLOAT:
        _cast_first(graph, kind)
    del graph.value_info[:]
    onnx.save(model, out)


_HINT = "Export the model again with Optimum or sdopt"


def _keep_vector(source: Path, graph: Any) -> None:
    """Turn what makes a vector of the scalar into nothing, wherever the scalar goes."""
    import onnx

    holding = {_TIMESTEP}
    for node in graph.node:
        if not holding.intersection(node.input):
            continue
        if node.op_type in _SAME_SHAPE:
            holding.update(node.output)
        elif node.op_type in _TO_VECTOR and node.input[0] in holding:
            same = onnx.helper.make_node("Identity", [node.input[0]], list(node.output), node.name)
            node.CopyFrom(same)
        elif node.op_type != "Expand":
            raise OnnxFolderError(source, f"{node.op_type} takes its timestep as it is", _HINT)


def _cast_first(graph: Any, kind: int) -> None:
    """Give everything that took the timestep the type that it had."""
    import onnx

    name = f"{_TIMESTEP}/Cast"
    for node in graph.node:
        for index, value in enumerate(node.input):
            if value == _TIMESTEP:
                node.input[index] = name
    graph.node.insert(0, onnx.helper.make_node("Cast", [_TIMESTEP], [name], name, to=kind))
