"""torch to ONNX: one traced graph that is right for every batch and every size.

Only export worker processes import this module, because it imports torch.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import onnx_ir as ir
import torch
import torch._dynamo
import torch.fx.experimental._config
from onnxscript import opset18 as op
from torch import nn

from sdopt.bundle.tensors import TensorSpec

_SMALLEST = {
    "batch": 2,
    "sequence": 2,
    "concepts": 2,
    "latent_height": 9,
    "latent_width": 9,
    "height": 72,
    "width": 72,
}
"""What torch.export is told, because it treats sizes of 1 apart. From 9 latents on no level of the
UNet is one latent wide, so nothing is treated apart: the graph has no such case, and serves smaller
sizes too (the parity check and the tests do run single rows and single latents)."""
_EXAMPLE_SIZES = {
    "batch": 3,
    "sequence": 77,
    "concepts": 5,
    "latent_height": 26,
    "latent_width": 22,
    "height": 208,
    "width": 176,
}
_LARGEST = 2**29


def trace(
    module: nn.Module, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], opset: int
) -> ir.Model:
    """Trace a module of :mod:`sdopt.export.wrappers`.

    Args:
        module: In evaluation mode, its weights in their final dtype.
        inputs: Its positional arguments; named dimensions stay dynamic.
        outputs: What it returns.
        opset: The ONNX opset of the graph.

    Returns:
        A new graph, not optimised, whose initialisers share memory with the module's weights.
    """
    names = [spec.name for spec in inputs], [spec.name for spec in outputs]
    program = _captured(module, inputs)
    program.run_decompositions = lambda *_, **__: program
    try:
        return _translated(program, *names, opset)
    except torch.onnx.OnnxExporterError:
        return _translated(_captured(module, inputs), *names, opset)


def _captured(module: nn.Module, inputs: Sequence[TensorSpec]) -> torch.export.ExportedProgram:
    """Capture the module's operators.

    "Size oblivious", as torch's exporter does it: sizes of 1 are not treated apart. And without
    torch's cache of fake tensors, which with symbolic sizes costs more than it saves.
    """
    with (
        torch.fx.experimental._config.patch(backed_size_oblivious=True),
        torch._dynamo.config.patch(fake_tensor_cache_enabled=False),
    ):
        return torch.export.export(
            module,
            tuple(_example(spec) for spec in inputs),
            dynamic_shapes=_dynamic_shapes(module, inputs),
            strict=False,
        )


def _translated(
    program: torch.export.ExportedProgram, inputs: list[str], outputs: list[str], opset: int
) -> ir.Model:
    """Translate captured operators to ONNX.

    The exporter would first decompose the program, which means tracing it a second time. Nearly
    every operator that diffusers uses has a translation of its own (:data:`_TRANSLATIONS` adds the
    rest), so :func:`trace` tries without, and the graph comes out the same in half the time.
    """
    with _no_promotion_where_none_is_needed(program):
        translated = torch.onnx.export(
            program,
            dynamo=True,
            input_names=inputs,
            output_names=outputs,
            opset_version=opset,
            optimize=False,
            verbose=False,
            custom_translation_table=_TRANSLATIONS,
        )
    assert translated is not None
    return translated.model


@contextmanager
def _no_promotion_where_none_is_needed(program: torch.export.ExportedProgram) -> Iterator[None]:
    """Keep the exporter from looking for operators that promote types, where there are none.

    It runs every operator once more, which is a third of what a small UNet's export takes.
    """
    name = "insert_type_promotion_nodes"
    try:  # torch's own affair: another version may do without
        from torch.onnx._internal.exporter import _fx_passes as passes
    except ImportError:
        passes = None
    original = getattr(passes, name, None)
    if original is None or promotes_types(program):
        yield
        return
    setattr(passes, name, lambda _: None)
    try:
        yield
    finally:
        setattr(passes, name, original)


def promotes_types(program: torch.export.ExportedProgram) -> bool:
    """Say whether an operator computes with numbers of two types, which ONNX does not."""
    return any(
        node.op == "call_function" and node.target not in _OF_TWO_TYPES and _promotes(node)
        for node in program.graph.nodes
    )


def _promotes(node: torch.fx.Node) -> bool:
    values = [argument.meta.get("val") for argument in node.all_input_nodes]
    types = {value.dtype for value in values if isinstance(value, torch.Tensor)}
    result = node.meta.get("val")
    if not types or not isinstance(result, torch.Tensor):
        return False
    return len(types) > 1 or (result.is_floating_point() and result.dtype not in types)


def _example(spec: TensorSpec) -> torch.Tensor:
    shape = [_EXAMPLE_SIZES[size] if isinstance(size, str) else size for size in spec.shape]
    return torch.zeros(shape, dtype=getattr(torch, spec.dtype))


def _dynamic_shapes(module: nn.Module, inputs: Sequence[TensorSpec]) -> tuple[Any, ...]:
    """Describe each argument; those that ``*conditions`` collects form one tuple of their own."""
    parameters = inspect.signature(module.forward).parameters.values()
    named = sum(p.kind is not inspect.Parameter.VAR_POSITIONAL for p in parameters)
    shapes = _shapes(inputs)
    return (*shapes[:named], shapes[named:]) if len(shapes) > named else shapes


def _shapes(inputs: Sequence[TensorSpec]) -> tuple[dict[int, Any], ...]:
    names = {size for spec in inputs for size in spec.shape if isinstance(size, str)}
    dimensions = {name: _dimension(name) for name in sorted(names)}
    return tuple(
        {axis: dimensions[size] for axis, size in enumerate(spec.shape) if isinstance(size, str)}
        for spec in inputs
    )


def _dimension(name: str) -> Any:
    return torch.export.Dim(name, min=_SMALLEST[name], max=_LARGEST)


def _attention(  # noqa: PLR0917 (torch calls it with the operator's own arguments)
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Write softmax(scale * Q @ K^T) @ V, in the few operators that every fusion knows.

    torch's own translation takes three times as many, with shapes computed at run time. Here Q is
    scaled rather than the scores, which in fp16 leaves more room below the largest number.

    The query is (batch, heads, queries, size), key and value are (batch, heads, keys, size), and
    the mask, where there is one, is floating point and added to the scores.
    """
    assert dropout_p == 0.0
    assert not enable_gqa
    assert not is_causal
    factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = op.MatMul(op.Mul(query, factor), op.Transpose(key, perm=[0, 1, 3, 2]))
    if attn_mask is not None:
        scores = op.Add(scores, attn_mask)
    return op.MatMul(op.Softmax(scores, axis=-1), value)


def _to_dtype(value: Any, dtype: int, *_: Any, **__: Any) -> Any:
    return op.Cast(value, to=dtype)


def _to_device(value: Any, _device: Any, dtype: int, *_: Any, **__: Any) -> Any:
    return op.Cast(value, to=dtype)


def _contiguous(value: Any, *_: Any, **__: Any) -> Any:
    return op.Identity(value)


_OF_TWO_TYPES = {
    torch.ops.aten.embedding.default,
    torch.ops.aten.index.Tensor,
    torch.ops.aten.to.dtype,
    torch.ops.aten.to.device,
}
"""Operators that take numbers of two types and promote none."""

_TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.scaled_dot_product_attention.default: _attention,
    torch.ops.aten.to.dtype: _to_dtype,
    torch.ops.aten.to.device: _to_device,
    torch.ops.aten.contiguous.default: _contiguous,
}
