"""ONNX Runtime as it is installed here: what it runs on, in which precision, and how fast."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import Any

from sdopt.bundle.manifest import PRECISIONS
from sdopt.engines.cuda.runtime import find_gpu
from sdopt.engines.key import EngineKey
from sdopt.engines.memory import Footprint
from sdopt.engines.offer import Offer
from sdopt.engines.onnxruntime.fused_graph import fused_key
from sdopt.engines.onnxruntime.session import FRUGAL_FROM_BYTES
from sdopt.engines.onnxruntime.targets import TARGETS, Targets
from sdopt.engines.options import EngineOptions, Model
from sdopt.errors import MissingDependencyError, ProviderUnavailableError

_NO_KERNELS = ("bf16",)
"""What the CPU provider cannot compute in."""


def library(device: str, targets: Targets = TARGETS, engine: str = "onnxruntime") -> Any:
    """Import ONNX Runtime, and see that this build of it runs on a device.

    Raises:
        MissingDependencyError: It is not installed.
        ProviderUnavailableError: This build has nothing for the device, or there is no GPU.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", "cpu") from error
    there = [n for n, own in targets.items() if own.provider in ort.get_available_providers()]
    if device not in there:
        hint = "Install a build of it for that device, or choose another device"
        raise ProviderUnavailableError(f"{engine} on {device}", there, hint)
    if device == "cuda":
        find_gpu()
        _load_cuda_libraries(ort)
    return ort


def precision(model: Model, options: EngineOptions) -> str:
    """Return what a model will be computed in: its own precision, and no other.

    Raises:
        ProviderUnavailableError: Another one was asked for, or there are no kernels for it.
    """
    wanted = options.precision
    if options.device == "cpu" and model.precision in _NO_KERNELS:
        hint = "Run this bundle with OpenVINO (--engine openvino), or export it in fp32 or fp16"
        there = [name for name in PRECISIONS if name not in _NO_KERNELS]
        raise ProviderUnavailableError(f"onnxruntime on the CPU in {model.precision}", there, hint)
    if wanted not in (None, model.precision):
        hint = f"ONNX Runtime computes as the bundle says: export it with --precision {wanted}"
        raise ProviderUnavailableError(f"onnxruntime in {wanted}", [model.precision], hint)
    return model.precision


def stored_key(model: Model, options: EngineOptions) -> EngineKey | None:
    """Return the key under which a component's fused graph is stored; None where it has none."""
    ort = library(options.device)
    return fused_key(ort.__version__, model, options, TARGETS[options.device]())


def footprint(precision: str | None) -> Footprint:  # noqa: ARG001 - as every backend's
    """Return what ONNX Runtime takes: weights once, and unfused attention."""
    return Footprint(
        base_bytes=0.15e9,
        weights=1.0,
        mapped=0.0,
        scores=2.0,
        vae_values=6.0,
        widened_below_bytes=FRUGAL_FROM_BYTES,
    )


def offer(device: str) -> Offer | None:
    """Say how fast ONNX Runtime would be on a device; None where it cannot run."""
    try:
        library(device)
    except (MissingDependencyError, ProviderUnavailableError):
        return None
    return Offer("onnxruntime", 20, "ONNX Runtime computes in the bundle's precision")


def _load_cuda_libraries(ort: Any) -> None:
    """Load CUDA and cuDNN where they were installed as wheels; it prints what it does not find.

    What is missing is told in an error, once a session was asked for.
    """
    if hasattr(ort, "preload_dlls"):
        with redirect_stdout(io.StringIO()):
            ort.preload_dlls(directory="")
