"""A traced graph, cleaned: fewer operators, telling names, no traces of the machine it was made on.

Everything here is a pure function of the graph, so that two exports give the same bytes. The result
uses standard ONNX operators only; operators of one backend are that engine's own business.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Sequence

import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript.optimizer import fold_constants_ir
from onnxscript.rewriter import RewritePass
from onnxscript.rewriter.rules.common import (
    div_by_1_rule,
    dropout_inference_rule,
    dropout_zero_rule,
    mul_by_1_rule,
    no_op_cast_rule,
    transpose_transpose_rule,
    unsqueeze_unsqueeze_rule,
)

from sdopt.bundle.tensors import TensorSpec

_RULES = (
    div_by_1_rule,
    dropout_inference_rule,
    dropout_zero_rule,
    mul_by_1_rule,
    no_op_cast_rule,
    transpose_transpose_rule,
    unsqueeze_unsqueeze_rule,
)
_WRAPPED = "model."  # how the wrappers of sdopt.export.wrappers call the model inside
_SCOPES = "pkg.torch.onnx.name_scopes"


def simplify(model: ir.Model) -> set[str]:
    """Fold and simplify a traced graph in place. Torch's metadata stays on it.

    Args:
        model: As :func:`sdopt.export.trace.trace` gives it.

    Returns:
        The names of the parameters, as in the model; the weights of linear layers are stored
        transposed, as ``NAME.transposed``.
    """
    graph = model.graph
    parameters = _name_parameters(graph)
    common.InlinePass()(model)
    parameters |= _transpose_parameters(graph)
    fold_constants_ir(model, onnx_shape_inference=True)
    common.RemoveUnusedNodesPass()(model)
    RewritePass(_RULES)(model)
    _fix_reshapes(graph)
    common.IdentityEliminationPass()(model)
    common.RemoveUnusedNodesPass()(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    _merge_equal_constants(graph, parameters)
    common.CommonSubexpressionEliminationPass()(model)
    common.RemoveUnusedNodesPass()(model)
    common.RemoveUnusedOpsetsPass()(model)
    return parameters


def finish(
    model: ir.Model,
    parameters: Collection[str],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
) -> None:
    """Name a simplified graph's nodes after the modules that they come from, and describe it.

    Args:
        model: Changed in place.
        parameters: What :func:`simplify` returned; all other constants are numbered.
        inputs: Specs of the graph's inputs; their dimension names replace torch's.
        outputs: Specs of the graph's outputs.
    """
    _name_everything(model.graph, parameters)
    common.ClearMetadataAndDocStringPass()(model)
    _describe(model, inputs, outputs)


def _name_parameters(graph: ir.Graph) -> set[str]:
    for value in list(graph.initializers.values()):
        assert value.name is not None
        value.name = value.name.removeprefix(_WRAPPED)
    return set(graph.initializers)


def _transpose_parameters(graph: ir.Graph) -> set[str]:
    """Replace Transpose(parameter) by a parameter that is a transposed view: nothing is copied."""
    made: dict[str, ir.Value] = {}
    for node in list(graph):
        source = node.inputs[0] if node.op_type == "Transpose" else None
        if source is None or not source.is_initializer():
            continue
        name = f"{source.name}.transposed"
        if name not in made:
            made[name] = _transposed(graph, source, name, node.attributes.get_ints("perm"))
        node.outputs[0].replace_all_uses_with(made[name])
        graph.remove(node, safe=True)
    return set(made)


def _transposed(graph: ir.Graph, source: ir.Value, name: str, perm: Sequence[int]) -> ir.Value:
    assert source.const_value is not None
    tensor = ir.Tensor(source.const_value.numpy().transpose(perm), dtype=source.dtype, name=name)
    value = ir.Value(name=name, shape=tensor.shape, type=source.type, const_value=tensor)
    graph.register_initializer(value)
    return value


def _fix_reshapes(graph: ir.Graph) -> None:
    """Write target shapes as constants wherever at most one dimension is really computed."""
    for node in list(graph):
        target = _target_shape(node) if node.op_type == "Reshape" else None
        if target is None:
            continue
        constant = ir.node("Constant", [], {"value": ir.tensor(target, ir.DataType.INT64)})
        graph.insert_before(node, constant)
        node.replace_input_with(1, constant.outputs[0])
        node.attributes["allowzero"] = ir.AttrInt64("allowzero", 0)


def _target_shape(node: ir.Node) -> list[int] | None:
    source, result = node.inputs[0], node.outputs[0]
    if source is None or source.shape is None or result.shape is None:
        return None
    target: list[int] = []
    for axis, size in enumerate(result.shape):
        kept = axis < len(source.shape) and source.shape[axis] == size
        target.append(size if isinstance(size, int) else 0 if kept else -1)
    return target if target.count(-1) <= 1 else None


def _merge_equal_constants(graph: ir.Graph, parameters: Collection[str]) -> None:
    seen: dict[object, ir.Value] = {}
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if name in parameters or tensor is None:
            continue
        key = (tensor.dtype, tuple(tensor.shape), tensor.tobytes())
        first = seen.setdefault(key, value)
        if first is not value:
            value.replace_all_uses_with(first)
            del graph.initializers[name]


def _name_everything(graph: ir.Graph, parameters: Collection[str]) -> None:
    fixed = {id(value) for value in (*graph.inputs, *graph.outputs)}
    constants = {
        value: name for name, value in graph.initializers.items() if name not in parameters
    }
    used = (value for node in graph for value in node.inputs if value in constants)
    for index, value in enumerate(dict.fromkeys(used)):  # torch's order depends on its passes
        del graph.initializers[constants[value]]
        value.name = f"constant_{index}"
        graph.register_initializer(value)
    counts: Counter[str] = Counter()
    for node in graph:
        name = f"{_scope(node)}/{node.op_type}"
        node.name = f"{name}_{counts[name]}" if counts[name] else name
        counts[name] += 1
        for index, value in enumerate(node.outputs):
            if id(value) not in fixed:
                value.name = f"{node.name}:{index}" if index else node.name


def _scope(node: ir.Node) -> str:
    scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "['', '', '']"))
    return (
        scopes[-2].removeprefix(_WRAPPED.rstrip(".")).removeprefix(".") if len(scopes) > 1 else ""
    )


def _describe(model: ir.Model, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    model.producer_name, model.producer_version = "sdopt", ""
    model.graph.name = "sdopt"
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    doors = *model.graph.inputs, *model.graph.outputs
    for value in (*model.graph.initializers.values(), *doors):
        value.metadata_props.clear()
    described = {id(value) for value in doors}
    for node in model.graph:
        for value in node.outputs:
            if id(value) not in described:
                value.shape = value.type = None
    for value, spec in zip(doors, (*inputs, *outputs), strict=True):
        assert value.name == spec.name
        value.shape = ir.Shape(spec.shape)
