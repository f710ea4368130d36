"""Everything that sdopt knows about ONNX Runtime."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from sdopt.bundle.manifest import PRECISIONS
from sdopt.bundle.tensors import TensorSpec
from sdopt.engines.buffers import check_buffers
from sdopt.engines.contract import Array, Buffer, Call
from sdopt.engines.cuda.runtime import find_gpu
from sdopt.engines.memory import Footprint
from sdopt.engines.offer import Offer
from sdopt.engines.onnxruntime_targets import TARGETS, Target
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
"""On disk. ONNX Runtime widens 16-bit weights when it loads them: the UNet of SDXL took 12.8 GB."""
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
    """A component that ONNX Runtime runs. See :class:`sdopt.engines.contract.Engine`.

    Attributes:
        precision: What the graph computes in: ONNX Runtime changes nothing about it.
        device: The host, or the GPU that all engines of this process share.
        rows_meet: Whether a row's last bits depend on how many rows there are: on the CPU, where
            weights are not packed beforehand. A product is then cut for the threads by its shape,
            and with it the order of its sums.
    """

    def __init__(self, model: Model, options: EngineOptions | None = None) -> None:
        """Load a graph with its weights.

        Raises:
            MissingDependencyError: onnxruntime is not installed.
            ProviderUnavailableError: This build of onnxruntime cannot run on the device, or the
                graph computes in another precision than was asked for.
            EngineError: The graph cannot be loaded.
        """
        options = options or EngineOptions()
        self.name, self.precision = model.name, _precision(model, options)
        ort = _import(options.device)
        self._target: Target = TARGETS[options.device]()
        self.device = self._target.device
        self._session = _session(ort, model, options, self._target)
        self._run_options = _run_options(ort, self._target)
        self.rows_meet = _is_frugal(model, options)
        self.inputs = tuple(map(_spec, self._session.get_inputs()))
        self.outputs = tuple(map(_spec, self._session.get_outputs()))

    def bind(self, buffers: Mapping[str, Buffer]) -> Call:
        """Bind buffers once. See :meth:`sdopt.engines.contract.Engine.bind`."""
        check_buffers(self.name, buffers, self.inputs, self.outputs)
        places, binding = self._target.places(self.name, buffers), self._session.io_binding()
        for spec in self.inputs:
            binding.bind_input(spec.name, *places[spec.name])
        for spec in self.outputs:
            if spec.name in places:
                binding.bind_output(spec.name, *places[spec.name])
        kept = tuple(buffers.values())
        return _BoundCall(self, binding, kept)

    @property
    def parts(
        self,
    ) -> tuple[str, ort.InferenceSession, ort.RunOptions | None, AbstractContextManager[object]]:
        """What a bound call runs with."""
        return self.name, self._session, self._run_options, self._target.turn

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once on new arrays. See :meth:`sdopt.engines.contract.Engine.run`."""
        try:
            outputs = self._session.run(None, dict(inputs))
        except Exception as error:  # onnxruntime raises a family of unrelated classes
            raise EngineExecutionError(self.name, str(error)) from error
        return {spec.name: np.asarray(out) for spec, out in zip(self.outputs, outputs, strict=True)}


class _BoundCall:
    """Runs a session on bound buffers, which it keeps alive."""

    __slots__ = ("_binding", "_buffers", "_name", "_options", "_session", "_turn")

    def __init__(
        self, engine: OnnxRuntimeEngine, binding: ort.IOBinding, buffers: tuple[Buffer, ...]
    ) -> None:
        self._name, self._session, self._options, self._turn = engine.parts
        self._binding, self._buffers = binding, buffers

    def __call__(self) -> None:
        try:
            with self._turn:
                self._session.run_with_iobinding(self._binding, self._options)
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
        providers = [TARGETS[options.device].provider]
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
    there = [n for n, own in TARGETS.items() if own.provider in ort.get_available_providers()]
    if device not in there:
        hint = "Install a build of it for that device, or choose another device"
        raise ProviderUnavailableError(f"onnxruntime on {device}", there, hint)
    if device == "cuda":
        find_gpu()
        _load_cuda_libraries(ort)
    return ort


def _load_cuda_libraries(ort: Any) -> None:
    """Load CUDA and cuDNN where they were installed as wheels; it prints what it does not find.

    What is missing is told in an error, once a session was asked for.
    """
    if hasattr(ort, "preload_dlls"):
        with redirect_stdout(io.StringIO()):
            ort.preload_dlls(directory="")


def _precision(model: Model, options: EngineOptions) -> str:
    wanted = options.precision
    if options.device == "cpu" and model.precision in _NO_KERNELS:
        hint = "Run this bundle with OpenVINO (--engine openvino), or export it in fp32 or fp16"
        there = [name for name in PRECISIONS if name not in _NO_KERNELS]
        raise ProviderUnavailableError(f"onnxruntime on the CPU in {model.precision}", there, hint)
    if wanted not in (None, model.precision):
        hint = f"ONNX Runtime computes as the bundle says: export it with --precision {wanted}"
        raise ProviderUnavailableError(f"onnxruntime in {wanted}", [model.precision], hint)
    return model.precision


def _session(
    ort: Any, model: Model, options: EngineOptions, target: Target
) -> ort.InferenceSession:
    wanted = [(target.provider, dict(target.options))]
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            session = ort.InferenceSession(
                model.path,
                _session_options(ort, model, options),
                providers=wanted,
                enable_fallback=0,
            )
    except Exception as error:  # onnxruntime raises a family of unrelated classes
        raise EngineError(
            f"{model.name}: ONNX Runtime cannot load {model.path}: {error}"
        ) from error
    if target.provider not in (there := session.get_providers()):
        hint = (
            f"{target.provider} could not be loaded. It needs CUDA and cuDNN of the versions that "
            "this build of ONNX Runtime was made for: pip install 'onnxruntime-gpu[cuda,cudnn]'"
        )
        raise ProviderUnavailableError(f"onnxruntime on {options.device}", there, hint)
    return session


def _run_options(ort: Any, target: Target) -> ort.RunOptions | None:
    if not target.run_config:
        return None
    options = ort.RunOptions()
    for name, value in target.run_config.items():
        options.add_run_config_entry(name, value)
    return options


def _is_frugal(model: Model, options: EngineOptions) -> bool:
    if options.frugal is not None:
        return options.frugal
    if options.device != "cpu":
        return False
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
