"""Graphs with fused operators, derived from a component's clean graph and kept in the store."""

from __future__ import annotations

from pathlib import Path

from sdopt.engines.key import EngineKey
from sdopt.engines.onnxruntime.targets import Target
from sdopt.engines.options import EngineOptions, Model

_FUSED_PRECISIONS = ("fp32", "fp16")
_REVISION = "1"
"""Of the rules in ``fusion.py``: graphs that older ones wrote are written again."""


def fused_graph(version: str, model: Model, options: EngineOptions, target: Target) -> Path | None:
    """Return a component's fused graph, deriving it unless the store has it.

    Its weights lie in the component's own file. None where nothing is fused.

    Args:
        version: Of ONNX Runtime.
        model: The component.
        options: With the store, and whether batching is exact.
        target: Where it will be computed.

    Raises:
        MissingDependencyError: onnxscript is not installed.
        EngineStoreError: The graph cannot be kept.
    """
    key = fused_key(version, model, options, target)
    if key is None:
        return None

    def write(path: Path) -> None:
        from sdopt.engines.onnxruntime.fusion import write_fused

        write_fused(model.path, path, target.fusions(options.batching))

    return options.store.obtain(key, write)


def fused_key(
    version: str, model: Model, options: EngineOptions, target: Target
) -> EngineKey | None:
    """Return what a fused graph depends on; None where nothing is fused."""
    fusions = target.fusions(options.batching)
    if not fusions or model.exact or not model.sha256 or model.precision not in _FUSED_PRECISIONS:
        return None
    return EngineKey(
        component=model.name,
        model_sha256=model.sha256,
        engine="onnxruntime",
        engine_version=version,
        device=target.provider,
        options={"fused": ", ".join(fusions), "rules": _REVISION},
    )
