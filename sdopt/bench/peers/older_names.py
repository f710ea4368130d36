"""A checkpoint as transformers 4 writes it, which is how published ones are.

transformers 5 leaves ``text_model.`` out of the weights' names when it saves a CLIP text encoder.
An exporter on transformers 4 does not find weights that are named so, and goes on with random ones.
And it saves a tokenizer as one ``tokenizer.json``, where transformers 4 opens two files.
"""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

_PREFIX = "text_model."
_BARE = ("embeddings.", "encoder.", "final_layer_norm.")


def write_with_older_names(checkpoint: Path, folder: Path) -> None:
    """Write a copy of a checkpoint: text encoders and tokenizers anew, all else as links.

    Args:
        checkpoint: A diffusers folder.
        folder: Must not exist.
    """
    folder.mkdir(parents=True)
    for path in checkpoint.resolve().iterdir():
        target = folder / path.name
        if path.is_dir() and path.name.startswith("text_encoder"):
            target.mkdir()
            for file in path.iterdir():
                _write(file, target / file.name)
        elif (path / "tokenizer.json").is_file() and not (path / "vocab.json").exists():
            _write_tokenizer(path, target)
        else:
            target.symlink_to(path)


def _write_tokenizer(source: Path, target: Path) -> None:
    """Write the vocabulary and the merges of a ``tokenizer.json`` as files of their own."""
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).symlink_to(file)
    model = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (target / "vocab.json").write_text(
        json.dumps(model["vocab"], ensure_ascii=False), encoding="utf-8"
    )
    pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (target / "merges.txt").write_text("\n".join(["#version: 0.2", *pairs, ""]), encoding="utf-8")


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
