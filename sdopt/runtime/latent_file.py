"""Latents in a file: safetensors, with one tensor and how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from sdopt.errors import InvalidValueError
from sdopt.runtime.images import SETTINGS_KEY
from sdopt.runtime.ports import FloatArray

SUFFIX = ".safetensors"
_TENSOR = "latents"


def save_latents(latents: FloatArray, path: Path, settings: Mapping[str, object]) -> None:
    """Write (pictures, channels, height/8, width/8) float32, with settings as JSON beside it."""
    metadata = {SETTINGS_KEY: json.dumps(settings, ensure_ascii=False)}
    save_file({_TENSOR: np.ascontiguousarray(latents)}, path, metadata)


def read_latents(name: str, path: Path) -> FloatArray:
    """Read what :func:`save_latents` wrote; shape and numbers are not checked.

    Args:
        name: Of the request's field, for messages.
        path: The file.

    Raises:
        InvalidValueError: It is no such file.
    """
    allowed = f"a safetensors file with a tensor {_TENSOR!r}"
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InvalidValueError(name, str(path), allowed, str(error)) from error
    if _TENSOR not in tensors:
        hint = f"This one holds {', '.join(sorted(tensors)) or 'nothing'}"
        raise InvalidValueError(name, str(path), allowed, hint)
    latents: FloatArray = tensors[_TENSOR]
    return latents
