"""torch to ONNX: one traced graph that is right for every batch and every size.

Only export worker processes import this module, because it imports torch.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import opset18 as op
from torch import nn

from sdopt.bundle.tensors import TensorSpec

SMALLEST_DIMENSION = 9
"""torch.export treats sizes of 1 apart. From 9 latents on none of the UNet's levels is one latent
wide, so nothing is treated apart; the graph has no such case and serves smaller sizes too."""

_EXAMPLE_SIZES = {"batch": 3, "latent_height": 26, "latent_width": 22, "height": 208, "width": 176, "sequence": 77}
_LARGEST = 2**29


def trace(module: nn.Module, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], opset: int) -> ir.Model:
    """Trace a module of :mod:`sdopt.export.wrappers`.

    Args:
        module: In evaluation mode, its weights in their final dtype.
        inputs: Its positional arguments; named dimensions stay dynamic.
        outputs: What it returns.
        opset: The ONNX opset of the graph.

    Returns:
        A new graph, not optimised, whose initialisers share memory with the module's weights.
    """
    program = torch.onnx.export(
        module,
        tuple(_example(spec) for spec in inputs),
        dynamo=True,
        dynamic_shapes=_dynamic_shapes(inputs),
        input_names=[spec.name for spec in inputs],
        output_names=[spec.name for spec in outputs],
        opset_version=opset,
        optimize=False,
        verbose=False,
        custom_translation_table=_TRANSLATIONS,
    )
    assert program is not None
    return program.model


def _example(spec: TensorSpec) -> torch.Tensor:
    shape = [_EXAMPLE_SIZES[size] if isinstance(size, str) else size for size in spec.shape]
    return torch.zeros(shape, dtype=getattr(torch, spec.dtype))


def _dynamic_shapes(inputs: Sequence[TensorSpec]) -> tuple[dict[int, Any], ...]:
    names = {size for spec in inputs for size in spec.shape if isinstance(size, str)}
    dimensions = {name: _dimension(name) for name in sorted(names)}
    return tuple(
        {axis: dimensions[size] for axis, size in enumerate(spec.shape) if isinstance(size, str)}
        for spec in inputs
    )


def _dimension(name: str) -> Any:
    smallest = 1 if name in ("batch", "sequence") else SMALLEST_DIMENSION
    return torch.export.Dim(name, min=smallest, max=_LARGEST)


def _attention(
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

    Args:
        query: (batch, heads, queries, size); key and value: (batch, heads, keys, size).
        attn_mask: Added to the scores; floating point.
    """
    assert dropout_p == 0.0 and not enable_gqa and not is_causal
    factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = op.MatMul(op.Mul(query, factor), op.Transpose(key, perm=[0, 1, 3, 2]))
    if attn_mask is not None:
        scores = op.Add(scores, attn_mask)
    return op.MatMul(op.Softmax(scores, axis=-1), value)


_TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.scaled_dot_product_attention.default: _attention,
}
