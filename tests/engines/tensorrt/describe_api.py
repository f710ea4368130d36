"""Prints what a module of pybind11's offers, as JSON: ``describe_api.py MODULE [STUB_FOLDER]``.

The libraries that TensorRT's bindings want are replaced by empty ones, made by gcc: the bindings
only need their ten functions to be there, and nothing is ever called.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)


def make_stubs(folder: Path) -> None:
    """Make the three libraries, and load them where the bindings look for them."""
    source = folder / "stub.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS))
    for name in LIBRARIES:
        file = f"lib{name}.so.11"
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{file}", "-o", folder / file, source]
        subprocess.run(command, check=True)
        ctypes.CDLL(str(folder / file), mode=ctypes.RTLD_GLOBAL)


def described(module: Any) -> dict[str, Any]:
    """Describe the public names of a module."""
    names = [name for name in vars(module) if not name.startswith("_")] + ["__version__"]
    return {name: _value(getattr(module, name)) for name in names}


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, type):
        return _class(value)
    if callable(value):
        return {"kind": "function", "doc": value.__doc__ or ""}
    return {"kind": "value", "type": type(value).__name__}


def _class(kind: type) -> dict[str, Any]:
    members = {name: int(member) for name, member in getattr(kind, "__members__", {}).items()}
    own: dict[str, Any] = {}
    for base in reversed(kind.__mro__[:-1]):
        for name, value in vars(base).items():
            if name in members:
                continue
            if isinstance(value, property) or hasattr(value, "fget"):
                get, put = getattr(value, "fget", None), getattr(value, "fset", None)
                own[name] = {
                    "kind": "property",
                    "get": (get.__doc__ or "") if get else None,
                    "set": (put.__doc__ or "") if put else None,
                }
            elif isinstance(value, type):
                own[name] = _class(value)
            elif callable(value):
                own[name] = {"kind": "method", "doc": value.__doc__ or ""}
            else:
                own[name] = {"kind": "value", "type": type(value).__qualname__}
    return {"kind": "class", "doc": kind.__doc__ or "", "enum": members, "members": own}


if __name__ == "__main__":
    if len(sys.argv) > 2:
        make_stubs(Path(sys.argv[2]))
    print(json.dumps(described(importlib.import_module(sys.argv[1]))))
