"""OpenVINO on one device: compiling graphs, keeping and loading what was compiled."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from sdopt.engines.cores import threads_of
from sdopt.engines.key import EngineKey
from sdopt.engines.memory import Footprint
from sdopt.engines.offer import Offer
from sdopt.engines.openvino.exact import keep_exact
from sdopt.engines.openvino.upsampling import fold_upsampling
from sdopt.engines.openvino.winograd import use_winograd
from sdopt.engines.options import EngineOptions, LatentShape, Model
from sdopt.errors import EngineError, MissingDependencyError, ProviderUnavailableError

if TYPE_CHECKING:
    import openvino as ov

_DEVICES = {"cpu": "CPU", "gpu": "GPU"}
_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
_CAPABILITIES = {"fp32": "FP32", "bf16": "BF16", "fp16": "FP16"}
_FASTEST_FIRST = ("bf16", "fp16", "fp32")

_REVISION = "4"
"""Of what is done to graphs before they are compiled; blobs of older ones are compiled again."""

_LEAST_LATENT_SIDE = 32
_LEAST_SIDES = {"vae_encoder": 256}
"""Of pictures that should be fast: 256x256, where most components see latents."""

_LARGEST_BLOB_BYTES = 256e6
"""On the CPU a larger model is compiled from its ONNX file each time: reading its blob, which holds
the weights once more, took longer than compiling (UNet of Stable Diffusion 1.5: twice as long)."""


class Backend:
    """OpenVINO on one device, with what it is told for every component."""

    def __init__(self, options: EngineOptions) -> None:
        self._ov = _import()
        self._core = self._ov.Core()
        self._device = _device(self._core, options.device)
        self.precision = _precision(self._core, self._device, options.precision)
        on_cpu = self._device == "CPU"  # other devices have no such setting
        self._threads = threads_of(options.threads) if on_cpu else options.threads
        self._store = options.store

    def open(self, model: Model) -> ov.CompiledModel:
        """Compile a model, or load its blob from the store where that is faster."""
        key = self.key(model)
        if key is None:
            return self._compile(model)
        try:
            return self._load(self._store.obtain(key, lambda path: self._write(model, path)))
        except RuntimeError as error:
            self._store.discard(key, f"OpenVINO cannot load it: {reason(error)}")
        return self._load(self._store.obtain(key, lambda path: self._write(model, path)))

    def profiled(self, model: Model) -> ov.CompiledModel:
        """Compile a model so that its runs are profiled; slower, and never stored."""
        return self._compile(model, {"PERF_COUNT": True})

    def key(self, model: Model) -> EngineKey | None:
        """Return what a blob of this model depends on; None where none is kept."""
        if not model.sha256 or (self._device == "CPU" and _bytes(model) > _LARGEST_BLOB_BYTES):
            return None
        return EngineKey(
            component=model.name,
            model_sha256=model.sha256,
            engine="openvino",
            engine_version=self._ov.get_version(),
            device=str(self._core.get_property(self._device, "FULL_DEVICE_NAME")),
            options={
                "precision": self.precision,
                "threads": str(self._threads or "all"),
                "rules": _REVISION,
                **({} if model.shape is None else {"shape": str(model.shape)}),
            },
        )

    def _compile(
        self, model: Model, more: Mapping[str, object] = MappingProxyType({})
    ) -> ov.CompiledModel:
        try:
            graph = self._core.read_model(model.path)
            if model.shape is not None:
                _fix(graph, model.shape)
            if self._device == "CPU":
                side = _LEAST_SIDES.get(model.name, _LEAST_LATENT_SIDE)
                use_winograd(graph, side, self.precision)
                fold_upsampling(graph, self.precision)
            if self.precision != "fp32":
                keep_exact(graph)
            return self._core.compile_model(graph, self._device, {**self._config(), **more})
        except RuntimeError as error:
            raise EngineError(
                f"{model.name}: OpenVINO cannot load {model.path}: {reason(error)}"
            ) from error

    def _write(self, model: Model, path: Path) -> None:
        blob = io.BytesIO()
        self._compile(model).export_model(blob)
        path.write_bytes(blob.getbuffer())

    def _load(self, path: Path) -> ov.CompiledModel:
        blob = self._ov.Tensor(np.memmap(path, np.uint8, mode="r"))
        return self._core.import_model(blob, self._device, self._config())

    def _config(self) -> dict[str, object]:
        config: dict[str, object] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
        }
        return (
            config if self._threads is None else config | {"INFERENCE_NUM_THREADS": self._threads}
        )


def stored_key(model: Model, options: EngineOptions) -> EngineKey | None:
    """Return the key under which a component's engine is stored; None where none is kept."""
    return Backend(options).key(model)


def footprint(precision: str | None) -> Footprint:
    """Return what OpenVINO takes: mapped files, weights packed once more, and fused attention.

    Measured on Stable Diffusion 1.5, in bf16 and fp32. Weights of convolutions that are computed in
    another way lie in memory as they were computed, beside what was packed of them: that is a
    quarter of what stands here. Larger models have fewer of those, and take less.
    """
    weights = 1.86 if precision == "fp32" else 1.14
    return Footprint(base_bytes=0.2e9, weights=weights, mapped=1.0, scores=0.0, vae_values=8.4)


def offer(device: str) -> Offer | None:
    """Say how fast OpenVINO would be on a device; None where it cannot run."""
    try:
        backend = Backend(EngineOptions(device=device))
    except (MissingDependencyError, ProviderUnavailableError):
        return None
    if backend.precision == "fp32":
        return Offer("openvino", 30, f"OpenVINO has only fp32 on this {device}")
    return Offer("openvino", 10, f"OpenVINO computes in {backend.precision} on this {device}")


def _import() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise MissingDependencyError("openvino", "openvino") from error
    return openvino


def _device(core: ov.Core, device: str) -> str:
    there = [name for name, own in _DEVICES.items() if own in _families(core)]
    if device not in there:
        hint = "OpenVINO runs on the CPU and on Intel's GPUs with their driver installed"
        raise ProviderUnavailableError(f"openvino on {device}", there, hint)
    return _DEVICES[device]


def _families(core: ov.Core) -> set[str]:
    """Return ``{"CPU", "GPU"}`` for devices that are called CPU, GPU.0 and GPU.1."""
    return {name.partition(".")[0] for name in core.available_devices}


def _precision(core: ov.Core, device: str, wanted: str | None) -> str:
    has = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    there = [name for name in _FASTEST_FIRST if _CAPABILITIES[name] in has]
    if wanted is None:
        return there[0]
    if wanted not in there:
        hint = "Leave precision out for the fastest that there is"
        raise ProviderUnavailableError(f"openvino in {wanted}", there, hint)
    return wanted


def _fix(graph: ov.Model, shape: LatentShape) -> None:
    """Let a UNet take these latents alone, with prompts of any length."""
    shapes = {port: port.get_partial_shape() for port in graph.inputs}
    for fixed in shapes.values():
        sizes = (shape.rows, None, shape.height, shape.width)
        for axis, size in enumerate(sizes) if len(fixed) == len(sizes) else [(0, shape.rows)]:
            if size is not None and fixed[axis].is_dynamic:
                fixed[axis] = size
    graph.reshape(shapes)


def _bytes(model: Model) -> int:
    return sum(file.stat().st_size for file in model.path.parent.glob(f"{model.path.name}*"))


def reason(error: Exception) -> str:
    """Return the last line of an OpenVINO message; the others are places in its sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
