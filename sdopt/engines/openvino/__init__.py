"""Everything that sdopt knows about OpenVINO."""

from sdopt.engines.openvino.backend import offer, stored_key
from sdopt.engines.openvino.engine import OpenVinoEngine

__all__ = ["OpenVinoEngine", "offer", "stored_key"]
