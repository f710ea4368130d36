"""ONNX Runtime's TensorRT provider: it builds engines by itself, at the first run of each shape.

``--engine tensorrt`` is built ahead, tested, and faster to load. This is ONNX Runtime's own way:
https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html
"""

from __future__ import annotations

from typing import ClassVar

from sdopt.bundle.hashing import cache_folder
from sdopt.engines.memory import Footprint
from sdopt.engines.offer import Offer
from sdopt.engines.onnxruntime.engine import OnnxRuntimeEngine
from sdopt.engines.onnxruntime.targets import OnCuda, Targets
from sdopt.engines.options import Batching, Model

_FOLDER = "onnxruntime-tensorrt"


class OnTensorRt(OnCuda):
    """An NVIDIA GPU by way of TensorRT; nodes that it does not take run on CUDA."""

    provider = "TensorrtExecutionProvider"
    needs = "TensorRT, CUDA and cuDNN"

    def providers(self, model: Model) -> list[tuple[str, dict[str, str]]]:
        """Return TensorRT, told to keep what it builds, and CUDA."""
        own = {
            "device_id": self.options["device_id"],
            "user_compute_stream": self.options["user_compute_stream"],
            # Its networks are not strongly typed: without this, halves are computed in float32.
            "trt_fp16_enable": "1" if model.precision == "fp16" else "0",
            **_kept(model),
        }
        return [(self.provider, own), (OnCuda.provider, dict(self.options))]

    @staticmethod
    def fusions(batching: Batching) -> tuple[str, ...]:  # noqa: ARG004 - as on every target
        """Fuse nothing: TensorRT does so by itself, and knows no operator of ONNX Runtime's."""
        return ()


class OnnxRuntimeTensorRtEngine(OnnxRuntimeEngine):
    """A component that ONNX Runtime gives to TensorRT. See :class:`OnnxRuntimeEngine`."""

    engine: ClassVar[str] = "onnxruntime-tensorrt"
    targets: ClassVar[Targets] = {"cuda": OnTensorRt}


def offer(device: str) -> Offer | None:  # noqa: ARG001 - as every backend's
    """Offer nothing: building in the middle of a request is only for those who ask for it."""
    return None


def footprint(precision: str | None) -> Footprint | None:  # noqa: ARG001 - as every backend's
    """Return None: what it takes lies on the GPU, and was never measured."""
    return None


def _kept(model: Model) -> dict[str, str]:
    """Return where TensorRT's engines and times are kept: where nobody else can write.

    ONNX Runtime checks by itself whether one of them fits graph, shapes, GPU and version.
    """
    if not model.sha256:
        return {}
    folder = cache_folder() / _FOLDER / f"{model.name}-{model.sha256[:20]}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }
