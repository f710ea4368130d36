"""Files of concepts learned by textual inversion: a few vectors that stand for a trigger word.

Gal et al. 2022, arXiv:2208.01618.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sdopt.errors import ConceptFileError
from sdopt.runtime.ports import FloatArray

_PICKLED = (".pt", ".bin", ".pth", ".ckpt")
_WEB_UI_KEY = "emb_params"
_SDXL_KEYS = {"clip_l", "clip_g"}


@dataclass(frozen=True, slots=True)
class Concept:
    """Vectors that a prompt can name.

    Attributes:
        token: What prompts write to get it, such as ``"<cat-toy>"``.
        vectors: For each text encoder that it was trained for, (count, width) float32, read-only.
        sha256: Of the vectors' bytes.
    """

    token: str
    vectors: tuple[FloatArray, ...] = field(repr=False, compare=False)
    sha256: str

    @property
    def count(self) -> int:
        """How many tokens it takes in a prompt."""
        return len(self.vectors[0])

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the text encoders that it was trained for."""
        return tuple(vectors.shape[1] for vectors in self.vectors)


def read_concept(path: str | Path, token: str | None = None) -> Concept:
    """Read a concept from a safetensors file, in any of the layouts that people share.

    They are diffusers' (the trigger word is the tensor's name), the web UI's (``emb_params``) and
    the one for two text encoders (``clip_l`` and ``clip_g``). In the last two the trigger word
    is the file's name without its ending, unless ``token`` says otherwise.

    Raises:
        ConceptFileError: The file cannot be read, is pickled, or holds something else.
    """
    path = Path(path)
    if path.suffix.lower() in _PICKLED:
        raise ConceptFileError(path, "Pickled files can run any code when read", _CONVERT)
    tensors = _tensors(path)
    name, arrays = _layout(path, tensors)
    vectors = tuple(_vectors(path, key, tensors[key]) for key in arrays)
    if len({len(array) for array in vectors}) > 1:
        raise ConceptFileError(path, "Its text encoders have different numbers of vectors")
    chosen = name if token is None else token
    if chosen != chosen.strip() or not chosen:
        raise ConceptFileError(path, f"{chosen!r} is no trigger word", "Name one with token=")
    digest = hashlib.sha256(b"".join(array.tobytes() for array in vectors))
    return Concept(chosen, vectors, digest.hexdigest())


_CONVERT = "Convert it once, where you trust it, with safetensors.torch.save_file"
_KNOWN = "It is one tensor named after the trigger word, or emb_params, or clip_l and clip_g"


def _layout(path: Path, tensors: Mapping[str, object]) -> tuple[str, list[str]]:
    """Return the trigger word that a file suggests, and its tensors' names."""
    if _WEB_UI_KEY in tensors:
        return path.stem, [_WEB_UI_KEY]
    if tensors.keys() == _SDXL_KEYS:
        return path.stem, ["clip_l", "clip_g"]
    if len(tensors) == 1:
        (name,) = tensors
        return name, [name]
    raise ConceptFileError(path, f"It holds the tensors {sorted(tensors)[:5]}", _KNOWN)


def _tensors(path: Path) -> dict[str, Mapping[str, Any]]:
    from safetensors import SafetensorError, deserialize

    try:
        return dict(deserialize(path.read_bytes()))  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise ConceptFileError(path, f"It is no safetensors file: {error}") from error
    except OSError as error:
        raise ConceptFileError(path, f"It cannot be read: {error.strerror}") from error


def _vectors(path: Path, name: str, tensor: Mapping[str, Any]) -> FloatArray:
    """Return a stored tensor, (width,) or (count, width), as (count, width) float32."""
    dtype, shape, data = tensor["dtype"], tensor["shape"], tensor["data"]
    if dtype not in _READERS:
        allowed = ", ".join(_READERS)
        raise ConceptFileError(path, f"{name} is stored as {dtype}", f"Supported: {allowed}")
    if len(shape) not in {1, 2} or 0 in shape:
        raise ConceptFileError(path, f"{name} has the shape {tuple(shape)}", _KNOWN)
    array = _READERS[dtype](bytes(data)).reshape(-1, shape[-1])
    if not np.isfinite(array).all():
        raise ConceptFileError(path, f"{name} holds NaN or infinity")
    array.flags.writeable = False
    return array


def _bfloat16(data: bytes) -> FloatArray:
    """Widen bfloat16, which NumPy does not know: the upper half of a float32."""
    return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").astype(np.float32)


_READERS: dict[str, Callable[[bytes], FloatArray]] = {
    "F32": lambda data: np.frombuffer(data, "<f4").astype(np.float32),
    "F16": lambda data: np.frombuffer(data, "<f2").astype(np.float32),
    "BF16": _bfloat16,
}
