"""A checkpoint as transformers 4 names its weights, which is how published ones are named.

transformers 5 leaves ``text_model.`` out when it saves a CLIP text encoder. An exporter on
transformers 4 does not find weights that are named so, and goes on with random ones.
"""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

_PREFIX = "text_model."
_BARE = ("embeddings.", "encoder.", "final_layer_norm.")


def write_with_older_names(checkpoint: Path, folder: Path) -> None:
    """Write a copy of a checkpoint: text encoders renamed, all else as links.

    Args:
        checkpoint: A diffusers folder.
        folder: Must not exist.
    """
    folder.mkdir(parents=True)
    for path in checkpoint.resolve().iterdir():
        if path.is_dir() and path.name.startswith("text_encoder"):
            (folder / path.name).mkdir()
            for file in path.iterdir():
                _write(file, folder / path.name / file.name)
        else:
            (folder / path.name).symlink_to(path)


def _write(source: Path, target: Path) -> None:
    if source.suffix != ".safetensors":
        target.symlink_to(source)
        return
    with source.open("rb") as read, target.open("wb") as written:
        # A safetensors file: length of the header, header as JSON, and tensors at offsets after it.
        (length,) = struct.unpack("<Q", read.read(8))
        header = {_older(name): value for name, value in json.loads(read.read(length)).items()}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        written.write(struct.pack("<Q", len(text)) + text)
        shutil.copyfileobj(read, written)


def _older(name: str) -> str:
    return _PREFIX + name if name.startswith(_BARE) else name
