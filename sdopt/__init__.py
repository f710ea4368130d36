"""sdopt: export Stable Diffusion to ONNX, build engines, and make pictures without torch.

>>> import sdopt
>>> pipeline = sdopt.load("shapes")
>>> result = pipeline("a large red circle on a blue background", num_inference_steps=20, seed=0)
>>> result.images[0].size
(96, 96)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdopt import export
    from sdopt.building import build
    from sdopt.explaining import explain
    from sdopt.importing import import_onnx
    from sdopt.pipeline import Pipeline, load
    from sdopt.vae import load_vae
    from sdopt.verification import verify

__version__ = "0.1.0"
__all__ = [
    "Pipeline",
    "__version__",
    "build",
    "explain",
    "export",
    "import_onnx",
    "load",
    "load_vae",
    "verify",
]

_HOMES = {
    "build": "sdopt.building",
    "explain": "sdopt.explaining",
    "load": "sdopt.pipeline",
    "Pipeline": "sdopt.pipeline",
    "load_vae": "sdopt.vae",
    "verify": "sdopt.verification",
    "import_onnx": "sdopt.importing",
}


def __getattr__(name: str) -> object:
    """Import a part of the public interface when it is first used, so that importing is cheap."""
    if name == "export":
        return import_module("sdopt.export")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sdopt' has no attribute {name!r}")
