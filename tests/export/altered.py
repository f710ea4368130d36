"""Copies of a checkpoint as other tools and other years would have written it. No torch needed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

TEXT, UNET, VAE = (
    Path("text_encoder/model.safetensors"),
    Path("unet/diffusion_pytorch_model.safetensors"),
    Path("vae/diffusion_pytorch_model.safetensors"),
)
_OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

Tensors = dict[str, Any]


def copied(checkpoint: Path, out: Path) -> Path:
    """Copy the checkpoint."""
    return Path(shutil.copytree(checkpoint, out))


def change(file: Path, how: Callable[[Tensors], Tensors]) -> None:
    """Rewrite a safetensors file."""
    save_file(how(load_file(file)), file)


def edit_json(file: Path, **changes: Any) -> None:
    """Change entries of a JSON file."""
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(content | changes), encoding="utf-8")


def as_in_2022(checkpoint: Path) -> None:
    """Name weights as transformers 4 and diffusers before 0.17 did, with the obsolete buffer."""

    def text(tensors: Tensors) -> Tensors:
        bare = {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}
        bare["embeddings.position_ids"] = np.arange(77)[None]
        return {f"text_model.{name}": tensor for name, tensor in bare.items()}

    def vae(tensors: Tensors) -> Tensors:
        return {_old_name(name): tensor for name, tensor in tensors.items()}

    change(checkpoint / TEXT, text)
    change(checkpoint / VAE, vae)


def _old_name(name: str) -> str:
    if ".attentions." not in name:
        return name
    for modern, old in _OLD_ATTENTION.items():
        name = name.replace(f".{modern}.", f".{old}.")
    return name


def sharded(file: Path) -> None:
    """Split a safetensors file in two, with an index."""
    tensors = load_file(file)
    names = sorted(tensors)
    half = len(names) // 2
    weight_map: dict[str, str] = {}
    for number, part in enumerate((names[:half], names[half:]), start=1):
        shard = file.with_name(f"{file.stem}-{number:05}-of-00002.safetensors")
        save_file({name: tensors[name] for name in part}, shard)
        weight_map |= dict.fromkeys(part, shard.name)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    file.with_name(f"{file.name}.index.json").write_text(json.dumps(index), encoding="utf-8")
    file.unlink()


def halved(checkpoint: Path, variant: str = "") -> None:
    """Store every weight in float16, as files of a variant where one is given."""
    for name in (TEXT, UNET, VAE):
        file = checkpoint / name
        tensors = {key: tensor.astype(np.float16) for key, tensor in load_file(file).items()}
        file.unlink()
        stem = f"{file.stem}.{variant}" if variant else file.stem
        save_file(tensors, file.with_name(f"{stem}.safetensors"))
