"""Fusing a graph's operators into those that ONNX Runtime has for its CUDA provider.

The exporter writes attention and group normalization in one form each, so that one rule for each
finds all of them. Operators: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sdopt.errors import MissingDependencyError

try:
    import onnx_ir as ir
    from onnxscript import rewriter
except ImportError as error:
    raise MissingDependencyError("onnxscript", "gpu") from error

_DOMAIN = "com.microsoft"
_HEADS_FIRST, _KEYS_TURNED = [0, 2, 1, 3], [0, 2, 3, 1]
_CHANNELS_LAST, _CHANNELS_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


def write_fused(clean: Path, fused: Path, names: Sequence[str]) -> None:
    """Write a graph with fused operators, that reads its weights from the clean graph's file.

    Args:
        clean: An ONNX file that the exporter wrote.
        fused: The new file.
        names: What to fuse, of :data:`RULES`.

    Raises:
        MissingDependencyError: onnxscript is not installed (when this module is imported).
    """
    model = ir.load(clean)
    for rule in (rule for name in names for rule in RULES[name]):
        model = rewriter.rewrite(model, pattern_rewrite_rules=[rule])
    fused.write_bytes(ir.to_proto(model).SerializeToString())


class _Attention(rewriter.RewriteRuleClassBase):
    """Scaled dot-product attention without a mask becomes one operator, which keeps no scores."""

    def pattern(
        self, op: Any, q: Any, k: Any, v: Any, heads: Any, key_heads: Any, scale: Any, merged: Any
    ) -> Any:
        queries = op.Transpose(op.Reshape(q, heads, allowzero=0), perm=_HEADS_FIRST)
        keys = op.Transpose(op.Reshape(k, key_heads, allowzero=0), perm=_KEYS_TURNED)
        values = op.Transpose(op.Reshape(v, key_heads, allowzero=0), perm=_HEADS_FIRST)
        shares = op.Softmax(op.MatMul(op.Mul(queries, scale), keys), axis=-1)
        found = op.Transpose(op.MatMul(shares, values), perm=_HEADS_FIRST)
        return op.Reshape(found, merged, allowzero=0)

    def check(
        self, context: Any, heads: Any, key_heads: Any, scale: Any, merged: Any, **_: Any
    ) -> bool:
        shape = _numbers(heads)
        return (
            len(shape) == 4
            and shape == _numbers(key_heads)
            and _numbers(merged) == [0, 0, shape[2] * shape[3]]
            and len(_numbers(scale)) == 1
        )

    def rewrite(
        self, op: Any, q: Any, k: Any, v: Any, heads: Any, scale: Any, **_: Any
    ) -> ir.Value:
        fused: ir.Value = op.MultiHeadAttention(
            *(q, k, v), num_heads=_numbers(heads)[2], scale=_numbers(scale)[0], _domain=_DOMAIN
        )
        return fused


class _GroupNorm(rewriter.RewriteRuleClassBase):
    """Group normalization, with SiLU behind it or not, becomes one operator.

    It sums in float32, so in graphs of float16 the casts around it go.
    """

    def __init__(self, *, cast: bool, silu: bool) -> None:
        super().__init__(name=f"group_norm cast={cast} silu={silu}")
        self._cast, self._silu = cast, silu

    def pattern(
        self, op: Any, x: Any, groups: Any, ones: Any, zeros: Any, shape: Any, gamma: Any, beta: Any
    ) -> Any:
        wide = op.Cast(x, to=ir.DataType.FLOAT) if self._cast else x
        grouped = op.Reshape(wide, groups, allowzero=0)
        even = op.InstanceNormalization(grouped, ones, zeros, _outputs=["even"])
        y = op.Add(op.Mul(op.Reshape(even, shape, allowzero=0), gamma), beta)
        if self._cast:
            y = op.Cast(y, to=ir.DataType.FLOAT16)
        return op.Mul(y, op.Sigmoid(y)) if self._silu else y

    def check(
        self, context: Any, x: Any, ones: Any, zeros: Any, shape: Any, gamma: Any, **_: Any
    ) -> bool:
        shaped = shape.producer()
        return (
            set(_numbers(ones)) == {1.0}
            and set(_numbers(zeros)) == {0.0}
            and shaped is not None
            and (shaped.op_type, shaped.inputs[0]) == ("Shape", x)
            and gamma.shape is not None
            and len(gamma.shape) == 3  # for pictures, (channels, 1, 1)
        )

    def rewrite(
        self, op: Any, x: Any, ones: Any, gamma: Any, beta: Any, even: Any, **_: Any
    ) -> ir.Value:
        flat = [
            op.initializer(ir.tensor(_array(v).ravel().astype(np.float32)), f"{v.name}.flat")
            for v in (gamma, beta)
        ]
        normalised = op.GroupNorm(
            op.Transpose(x, perm=_CHANNELS_LAST),
            *flat,
            groups=len(_numbers(ones)),
            epsilon=even.producer().attributes["epsilon"].as_float(),
            activation=int(self._silu),
            _domain=_DOMAIN,
        )
        back: ir.Value = op.Transpose(normalised, perm=_CHANNELS_FIRST)
        return back


RULES = {
    "attention": [_Attention.rule()],
    "group_norm": [
        _GroupNorm.rule(cast=cast, silu=silu) for silu in (True, False) for cast in (True, False)
    ],
}
"""Rules by the name of what they fuse, in the order of their use: those that take in more first."""


def _array(value: ir.Value) -> np.ndarray[Any, Any]:
    """Return a constant; empty where it is none."""
    constant = ir.convenience.get_const_tensor(value)
    return np.empty(0) if constant is None else constant.numpy()


def _numbers(value: ir.Value) -> list[Any]:
    numbers: list[Any] = _array(value).ravel().tolist()
    return numbers
