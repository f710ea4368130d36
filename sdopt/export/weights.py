"""Weight files on disk: which ones belong to a model, and what their headers say. No torch here."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdopt.errors import CheckpointError

DTYPES = ("F32", "F16", "BF16")
_LENGTH = struct.Struct("<Q")
_LARGEST_HEADER_BYTES = 100_000_000
_AGAIN = "Copy or download the file again"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a safetensors file.

    Attributes:
        dtype: ``"F32"``, ``"F16"`` or ``"BF16"`` (or an integer type, for obsolete buffers).
        shape: Its dimensions.
        begin: Where its bytes begin, from the beginning of the file.
        end: Where they end.
        transposed: Whether the file holds the matrix with rows and columns exchanged.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int
    transposed: bool = False


@dataclass(frozen=True, slots=True)
class WeightFile:
    """A safetensors file that is as long as its header says.

    Attributes:
        path: The file.
        tensors: By name.
        metadata: What whoever wrote the file says about it.
    """

    path: Path
    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


def find_weights(folder: Path, base: str, variant: str | None) -> tuple[WeightFile, ...]:
    """Find the safetensors files of a model: whole or in shards, with a variant or without.

    Args:
        folder: The model's folder.
        base: ``"model"`` or ``"diffusion_pytorch_model"``.
        variant: Which variant; None prefers the files without one.

    Raises:
        CheckpointError: There are none, several variants to choose from, or a file is damaged.
    """
    choices = {
        found: paths for found in _variants(folder, base) if (paths := _files(folder, base, found))
    }
    if not choices:
        raise CheckpointError(
            folder, "there are no safetensors weights in this folder", _advice(folder)
        )
    return tuple(read_header(path) for path in choices[_choose(folder, choices, variant)])


def read_header(path: Path) -> WeightFile:
    """Read the header of a safetensors file and check that the file is complete.

    Raises:
        CheckpointError: The file is missing, damaged, or holds types that are not supported.
    """
    if not path.is_file():
        raise CheckpointError(path, "this shard is missing", "Get the complete checkpoint")
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_LENGTH.size)
        length = (
            _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else _LARGEST_HEADER_BYTES + 1
        )
        header = file.read(length) if length <= min(size_bytes, _LARGEST_HEADER_BYTES) else b""
    try:
        entries = json.loads(header)
        tensors = {
            name: _stored(entry, _LENGTH.size + length)
            for name, entry in entries.items()
            if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(path, "this is not a readable safetensors file", _AGAIN) from error
    expected = max((tensor.end for tensor in tensors.values()), default=_LENGTH.size + length)
    if size_bytes != expected:
        raise CheckpointError(
            path, f"the file has {size_bytes} bytes, where its header announces {expected}", _AGAIN
        )
    metadata = entries.get("__metadata__") or {}
    return WeightFile(path, tensors, {str(k): str(v) for k, v in metadata.items()})


def _stored(entry: Mapping[str, Any], data_begin: int) -> StoredTensor:
    begin, end = entry["data_offsets"]
    shape = tuple(int(size) for size in entry["shape"])
    return StoredTensor(str(entry["dtype"]), shape, data_begin + int(begin), data_begin + int(end))


def _variants(folder: Path, base: str) -> list[str]:
    """List the variants that file names mention, ``""`` for none, in a stable order."""
    found = {""}
    for path in folder.glob(f"{base}.*safetensors*"):
        parts = path.name.removeprefix(f"{base}.").split(".")
        found |= {parts[0].split("-")[0]} - {"safetensors"}
    return sorted(found)


def _files(folder: Path, base: str, variant: str) -> list[Path]:
    stem = f"{base}.{variant}" if variant else base
    whole, index = folder / f"{stem}.safetensors", folder / f"{base}.safetensors.index.json"
    if variant:
        index = folder / f"{base}.safetensors.index.{variant}.json"
        other = folder / f"{stem}.safetensors.index.json"
        index = index if index.is_file() else other
    if whole.is_file():
        return [whole]
    if not index.is_file():
        return []
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(index, "this is not a readable index of shards", _AGAIN) from error
    return [folder / shard for shard in sorted(shards)]


def _choose(folder: Path, choices: Mapping[str, Sequence[Path]], variant: str | None) -> str:
    names = ", ".join(repr(name) for name in choices if name) or "none"
    if variant is not None and variant not in choices:
        raise CheckpointError(folder, f"there is no variant {variant!r}", f"Variants here: {names}")
    if variant is not None:
        return variant
    if "" in choices:
        return ""
    if len(choices) > 1:
        raise CheckpointError(
            folder, f"there are several variants: {names}", "Say which one, with variant="
        )
    return next(iter(choices))


def _advice(folder: Path) -> str:
    if any(folder.glob("*.bin")) or any(folder.glob("*.ckpt")):
        return (
            "Pickled weights (.bin, .ckpt) can run any code and are never read. Convert them with "
            "save_pretrained(..., safe_serialization=True)"
        )
    return "Get the complete checkpoint"
