"""Everything that sdopt knows about TensorRT: building engines ahead of time, and running them."""

from sdopt.engines.tensorrt.backend import explain, footprint, offer, ready
from sdopt.engines.tensorrt.build import build_component
from sdopt.engines.tensorrt.engine import TensorRtEngine

__all__ = ["TensorRtEngine", "build_component", "explain", "footprint", "offer", "ready"]
