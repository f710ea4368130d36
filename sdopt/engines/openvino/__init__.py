"""Everything that sdopt knows about OpenVINO."""

from sdopt.engines.openvino.backend import footprint, offer, stored_key
from sdopt.engines.openvino.engine import OpenVinoEngine
from sdopt.engines.openvino.profile import profile

__all__ = ["OpenVinoEngine", "footprint", "offer", "profile", "stored_key"]
