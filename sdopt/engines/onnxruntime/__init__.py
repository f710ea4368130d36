"""Everything that sdopt knows about ONNX Runtime."""

from sdopt.engines.onnxruntime.backend import footprint, offer, stored_key
from sdopt.engines.onnxruntime.engine import OnnxRuntimeEngine
from sdopt.engines.onnxruntime.profile import profile

__all__ = ["OnnxRuntimeEngine", "footprint", "offer", "profile", "stored_key"]
