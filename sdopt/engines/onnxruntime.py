"""Everything that sdopt knows about ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdopt.bundle.tensors import TensorSpec
from sdopt.engines.contract import Array, Call
from sdopt.errors import (
    EngineError,
    EngineExecutionError,
    MissingDependencyError,
    ProviderUnavailableError,
)

if TYPE_CHECKING:
    import onnxruntime as ort

_PROVIDER = "CPUExecutionProvider"
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxRuntimeOptions:
    """How a session is made.

    Attributes:
        threads: Threads within one operator; None leaves it to ONNX Runtime (one per core).
    """

    threads: int | None = None


class OnnxRuntimeEngine:
    """A component that ONNX Runtime runs on the CPU. See :class:`sdopt.engines.contract.Engine`."""

    def __init__(self, name: str, model: Path, options: OnnxRuntimeOptions | None = None) -> None:
        """Load a graph with its weights.

        Raises:
            MissingDependencyError: onnxruntime is not installed.
            ProviderUnavailableError: This build of onnxruntime cannot run on the CPU.
            EngineError: The graph cannot be loaded.
        """
        self.name = name
        self._session = _session(name, model, options or OnnxRuntimeOptions())
        self.inputs = tuple(map(_spec, self._session.get_inputs()))
        self.outputs = tuple(map(_spec, self._session.get_outputs()))

    def bind(self, buffers: Mapping[str, Array]) -> Call:
        """Bind buffers once. See :meth:`sdopt.engines.contract.Engine.bind`."""
        self._check(buffers)
        binding = self._session.io_binding()
        for spec in self.inputs:
            binding.bind_input(spec.name, *_place(buffers[spec.name]))
        for spec in self.outputs:
            if spec.name in buffers:
                binding.bind_output(spec.name, *_place(buffers[spec.name]))
        return _BoundCall(self.name, self._session, binding, tuple(buffers.values()))

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once on new arrays. See :meth:`sdopt.engines.contract.Engine.run`."""
        try:
            outputs = self._session.run(None, dict(inputs))
        except Exception as error:  # onnxruntime raises a family of unrelated classes
            raise EngineExecutionError(self.name, str(error)) from error
        return {spec.name: np.asarray(out) for spec, out in zip(self.outputs, outputs, strict=True)}

    def _check(self, buffers: Mapping[str, Array]) -> None:
        specs = {spec.name: spec for spec in (*self.inputs, *self.outputs)}
        if unknown := sorted(buffers.keys() - specs.keys()):
            there = ", ".join(map(str, specs.values()))
            raise EngineExecutionError(
                self.name, f"There are no tensors {unknown}; there are {there}"
            )
        if missing := [spec.name for spec in self.inputs if spec.name not in buffers]:
            raise EngineExecutionError(self.name, f"Inputs without a buffer: {missing}")
        for name, buffer in buffers.items():
            if not _fits(buffer, specs[name]):
                given = f"dtype {buffer.dtype} and shape {buffer.shape}"
                raise EngineExecutionError(self.name, f"The buffer for {specs[name]} has {given}")


class _BoundCall:
    """Runs a session on bound buffers, which it keeps alive."""

    __slots__ = ("_binding", "_buffers", "_name", "_session")

    def __init__(
        self,
        name: str,
        session: ort.InferenceSession,
        binding: ort.IOBinding,
        buffers: tuple[Array, ...],
    ) -> None:
        self._name, self._session, self._binding, self._buffers = name, session, binding, buffers

    def __call__(self) -> None:
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # onnxruntime raises a family of unrelated classes
            raise EngineExecutionError(self._name, str(error)) from error


def _session(name: str, model: Path, options: OnnxRuntimeOptions) -> ort.InferenceSession:
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", "cpu") from error
    available = ort.get_available_providers()
    if _PROVIDER not in available:
        raise ProviderUnavailableError(
            _PROVIDER, available, "Install it with: pip install 'sdopt[cpu]'"
        )
    try:
        return ort.InferenceSession(model, _session_options(ort, options), providers=[_PROVIDER])
    except Exception as error:  # onnxruntime raises a family of unrelated classes
        raise EngineError(f"{name}: ONNX Runtime cannot load {model}: {error}") from error


def _session_options(ort: Any, options: OnnxRuntimeOptions) -> ort.SessionOptions:
    session = ort.SessionOptions()
    session.log_severity_level = 3
    if options.threads is not None:
        session.intra_op_num_threads = options.threads
    return session


def _spec(node: Any) -> TensorSpec:
    return TensorSpec(node.name, _DTYPES.get(node.type, node.type), tuple(node.shape))


def _place(buffer: Array) -> tuple[str, int, Any, tuple[int, ...], int]:
    return "cpu", 0, buffer.dtype.type, buffer.shape, buffer.ctypes.data


def _fits(buffer: Array, spec: TensorSpec) -> bool:
    return (
        buffer.flags.c_contiguous
        and buffer.dtype == spec.dtype
        and buffer.ndim == len(spec.shape)
        and all(
            isinstance(want, str) or want == have
            for want, have in zip(spec.shape, buffer.shape, strict=True)
        )
    )
