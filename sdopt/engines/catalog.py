"""Which engines there are, by name, and how one is opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sdopt.engines.contract import Engine
from sdopt.errors import UnknownNameError


def _onnxruntime(name: str, model: Path, threads: int | None) -> Engine:
    from sdopt.engines.onnxruntime import OnnxRuntimeEngine, OnnxRuntimeOptions

    return OnnxRuntimeEngine(name, model, OnnxRuntimeOptions(threads=threads))


_OPENERS: dict[str, Callable[[str, Path, int | None], Engine]] = {"onnxruntime": _onnxruntime}

ENGINES: tuple[str, ...] = tuple(_OPENERS)


def open_engine(engine: str, name: str, model: Path, *, threads: int | None = None) -> Engine:
    """Load one component with the engine of this name.

    Args:
        engine: One of :data:`ENGINES`.
        name: The component's name, for messages.
        model: Its ONNX file.
        threads: Threads within one operator; None leaves it to the backend.

    Raises:
        UnknownNameError: There is no engine of this name.
        MissingDependencyError: The engine's package is not installed.
        EngineError: The component cannot be loaded.
    """
    if engine not in _OPENERS:
        raise UnknownNameError("engine", engine, ENGINES)
    return _OPENERS[engine](name, model, threads)
