"""Everything that sdopt knows about ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from sdopt.bundle.manifest import PRECISIONS
from sdopt.bundle.tensors import TensorSpec
from sdopt.engines.buffers import check_buffers
from sdopt.engines.contract import Array, Buffer, Call
from sdopt.engines.host import HOST, host_arrays
from sdopt.engines.memory import Footprint
from sdopt.engines.offer import Offer
from sdopt.engines.options import EngineOptions, Model
from sdopt.engines.profiling import NodeTime, mean_times
from sdopt.errors import (
    EngineError,
    EngineExecutionError,
    MissingDependencyError,
    ProviderUnavailableError,
)

if TYPE_CHECKING:
    import onnxruntime as ort

_NO_KERNELS = ("bf16",)
"""What the CPU provider cannot compute in."""
_FRUGAL_FROM_BYTES = 4e9
"""On disk. ONNX Runtime widens 16-bit weights when it loads them: the UNet of SDXL took 12.8 GB,
and takes FRUGAL_GB so."""
_PROVIDERS = {"cpu": "CPUExecutionProvider"}
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
}


_KERNEL = "_kernel_time"
"""Ends the names of the events in a profile that are runs of nodes."""


class OnnxRuntimeEngine:
    """A component that ONNX Runtime runs on the CPU. See :class:`sdopt.engines.contract.Engine`.

    Attributes:
        precision: What the graph computes in: ONNX Runtime changes nothing about it.
        device: The host.
    """

    device = HOST

    def __init__(self, model: Model, options: EngineOptions | None = None) -> None:
        """Load a graph with its weights.

        Raises:
            MissingDependencyError: onnxruntime is not installed.
            ProviderUnavailableError: This build of onnxruntime cannot run on the device, or the
                graph computes in another precision than was asked for.
            EngineError: The graph cannot be loaded.
        """
        options = options or EngineOptions()
        self.name, self.precision = model.name, _precision(model, options.precision)
        self._session = _session(model, options)
        self.inputs = tuple(map(_spec, self._session.get_inputs()))
        self.outputs = tuple(map(_spec, self._session.get_outputs()))

    def bind(self, buffers: Mapping[str, Buffer]) -> Call:
        """Bind buffers once. See :meth:`sdopt.engines.contract.Engine.bind`."""
        check_buffers(self.name, buffers, self.inputs, self.outputs)
        arrays, binding = host_arrays(self.name, buffers), self._session.io_binding()
        for spec in self.inputs:
            binding.bind_input(spec.name, *_place(arrays[spec.name]))
        for spec in self.outputs:
            if spec.name in arrays:
                binding.bind_output(spec.name, *_place(arrays[spec.name]))
        return _BoundCall(self.name, self._session, binding, tuple(arrays.values()))

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once on new arrays. See :meth:`sdopt.engines.contract.Engine.run`."""
        try:
            outputs = self._session.run(None, dict(inputs))
        except Exception as error:  # onnxruntime raises a family of unrelated classes
            raise EngineExecutionError(self.name, str(error)) from error
        return {spec.name: np.asarray(out) for spec, out in zip(self.outputs, outputs, strict=True)}


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


def profile(
    model: Model, options: EngineOptions, inputs: Mapping[str, Array], runs: int
) -> list[NodeTime]:
    """Profile runs of a component after one that warms up. See :mod:`sdopt.engines.profiling`."""
    ort = _import(options.device)
    settings = _session_options(ort, model, options)
    settings.enable_profiling = True
    with TemporaryDirectory() as folder:
        settings.profile_file_prefix = str(Path(folder) / "profile")
        providers = [_PROVIDERS[options.device]]
        session = ort.InferenceSession(model.path, settings, providers=providers)
        for _ in range(1 + runs):
            session.run(None, dict(inputs))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    kernels = [e for e in events if e.get("cat") == "Node" and e["name"].endswith(_KERNEL)]
    measured = kernels[len(kernels) // (1 + runs) :]
    return mean_times(
        runs,
        ((e["name"].removesuffix(_KERNEL), e["args"]["op_name"], e["dur"] / 1e6) for e in measured),
    )


def footprint(precision: str | None) -> Footprint:  # noqa: ARG001 - as every backend's
    """Return what ONNX Runtime takes: weights once, and unfused attention."""
    return Footprint(
        base_bytes=0.15e9,
        weights=1.0,
        mapped=0.0,
        scores=2.0,
        vae_values=6.0,
        widened_below_bytes=_FRUGAL_FROM_BYTES,
    )


def offer(device: str) -> Offer | None:
    """Say how fast ONNX Runtime would be on a device; None where it cannot run."""
    try:
        _import(device)
    except (MissingDependencyError, ProviderUnavailableError):
        return None
    return Offer("onnxruntime", 20, "ONNX Runtime computes in the bundle's precision")


def _import(device: str) -> Any:
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", "cpu") from error
    there = [name for name, own in _PROVIDERS.items() if own in ort.get_available_providers()]
    if device not in there:
        hint = "Install a build of it for that device, or choose another device"
        raise ProviderUnavailableError(f"onnxruntime on {device}", there, hint)
    return ort


def _precision(model: Model, wanted: str | None) -> str:
    if model.precision in _NO_KERNELS:
        hint = "Run this bundle with OpenVINO (--engine openvino), or export it in fp32 or fp16"
        there = [name for name in PRECISIONS if name not in _NO_KERNELS]
        raise ProviderUnavailableError(f"onnxruntime on the CPU in {model.precision}", there, hint)
    if wanted not in (None, model.precision):
        hint = f"ONNX Runtime computes as the bundle says: export it with --precision {wanted}"
        raise ProviderUnavailableError(f"onnxruntime in {wanted}", [model.precision], hint)
    return model.precision


def _session(model: Model, options: EngineOptions) -> ort.InferenceSession:
    ort = _import(options.device)
    providers = [_PROVIDERS[options.device]]
    try:
        return ort.InferenceSession(
            model.path, _session_options(ort, model, options), providers=providers
        )
    except Exception as error:  # onnxruntime raises a family of unrelated classes
        raise EngineError(
            f"{model.name}: ONNX Runtime cannot load {model.path}: {error}"
        ) from error


def _is_frugal(model: Model, options: EngineOptions) -> bool:
    if options.frugal is not None:
        return options.frugal
    files = model.path.parent.glob(f"{model.path.name}*")
    return sum(file.stat().st_size for file in files) > _FRUGAL_FROM_BYTES


def _session_options(ort: Any, model: Model, options: EngineOptions) -> ort.SessionOptions:
    session = ort.SessionOptions()
    session.log_severity_level = 3
    if _is_frugal(model, options):
        # Nothing is computed beforehand, and nodes run in the order of the file, where a cast of a
        # weight stands before its reader: by default every cast would run before everything else.
        session.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session.execution_order = ort.ExecutionOrder.PRIORITY_BASED
        session.enable_cpu_mem_arena = session.enable_mem_pattern = False
    if options.threads is not None:
        session.intra_op_num_threads = options.threads
    return session


def _spec(node: Any) -> TensorSpec:
    return TensorSpec(node.name, _DTYPES.get(node.type, node.type), tuple(node.shape))


def _place(buffer: Array) -> tuple[str, int, Any, tuple[int, ...], int]:
    return "cpu", 0, buffer.dtype.type, buffer.shape, buffer.ctypes.data
