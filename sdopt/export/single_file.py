"""Checkpoints as one safetensors file, as model sites share them: read where they lie.

Only the header is read here. Weights get the names that diffusers has, and configs come from their
shapes, so that everything after this is the same as for a folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sdopt.bundle.recognition import recognise
from sdopt.errors import CheckpointError
from sdopt.export import clip_tokenizer
from sdopt.export.checkpoint import Checkpoint, Model, zero_negative_prompt
from sdopt.export.families import check, model_folders
from sdopt.export.single_file_configs import (
    SCHEDULERS,
    added_config,
    levels,
    text_config,
    unet_config,
    vae_config,
)
from sdopt.export.single_file_kinds import IGNORED, KINDS, UNET, VAE, Kind, TextPart
from sdopt.export.single_file_names import Tensors, open_clip_names, unet_names, vae_names
from sdopt.export.weights import StoredTensor, WeightFile, read_header


def read_single_file(path: Path, prediction_type: str | None = None) -> Checkpoint:
    """Read and check a single safetensors file.

    Args:
        path: The file.
        prediction_type: What the UNet predicts; None for what the file says.

    Raises:
        CheckpointError: The file is damaged, not complete, or of a kind that is not known.
    """
    file = read_header(path)
    kind = _kind(file)
    parts = _parts(file, kind)
    prediction = prediction_type or _prediction_type(file, kind)
    try:
        models = dict(_models(file, kind, parts, prediction))
    except KeyError as error:
        raise CheckpointError(path, f"the weight {error} is missing", _INCOMPLETE) from None
    configs = {name: model.config for name, model in models.items()}
    scheduler = SCHEDULERS[kind.name] | {"prediction_type": prediction}
    documents = {**configs, "scheduler": scheduler, "index": kind.index}
    family = recognise(kind.index["_class_name"], _setting(documents))
    assert family is not None
    check(family, path, configs)
    return Checkpoint(
        path=path,
        family=family,
        models={row.folder: models[row.folder] for row in model_folders(family)},
        scheduler=scheduler,
        tokenizers=tuple(sorted({encoding.tokenizer for encoding in family.text_encodings})),
        zero_negative_prompt=zero_negative_prompt(family, kind.index),
        notes=(),
        documents=_documents(kind, configs, scheduler),
    )


_INCOMPLETE = "Get the complete file"
_NO_STABLE_DIFFUSION = (
    "Known are files of whole Stable Diffusion 1.x, 2.x and XL models. A LoRA, a VAE or a UNet "
    "alone is none"
)


def _kind(file: WeightFile) -> Kind:
    for kind in KINDS:
        if all(any(n.startswith(text.prefix) for n in file.tensors) for text in kind.texts):
            return kind
    some = ", ".join(sorted(file.tensors)[:3])
    raise CheckpointError(
        file.path, f"it holds no text encoder that is known, but {some}", _NO_STABLE_DIFFUSION
    )


def _parts(file: WeightFile, kind: Kind) -> dict[str, dict[str, StoredTensor]]:
    """Sort the weights by their prefix, without it."""
    prefixes = (UNET, VAE, *(text.prefix for text in kind.texts))
    parts: dict[str, dict[str, StoredTensor]] = {prefix: {} for prefix in prefixes}
    unknown: list[str] = []
    for name, tensor in file.tensors.items():
        prefix = next((p for p in prefixes if name.startswith(p)), None)
        if IGNORED.fullmatch(name):
            continue
        if prefix is None:
            unknown.append(name)
        else:
            parts[prefix][name.removeprefix(prefix)] = tensor
    for prefix, what in ((UNET, "UNet"), (VAE, "VAE")):
        if not parts[prefix]:
            problem = f"it holds no {what}: no weight's name begins with {prefix!r}"
            raise CheckpointError(file.path, problem, _NO_STABLE_DIFFUSION)
    if unknown:
        some = ", ".join(sorted(unknown)[:5])
        raise CheckpointError(
            file.path,
            f"{len(unknown)} weights belong to nothing that is known here: {some}",
            _NO_STABLE_DIFFUSION,
        )
    return parts


def _prediction_type(file: WeightFile, kind: Kind) -> str:
    said = file.metadata.get("modelspec.prediction_type", "")
    if "v_pred" in file.tensors or said.startswith("v"):
        return "v_prediction"
    if said.startswith("eps") or kind.name != "sd2":
        return "epsilon"
    raise CheckpointError(
        file.path,
        "files of Stable Diffusion 2.x do not say what their UNet predicts",
        "Give prediction_type (--prediction-type): v_prediction for the models for 768 pixels, "
        "epsilon for the base models for 512",
    )


def _models(
    file: WeightFile, kind: Kind, parts: Mapping[str, Tensors], prediction: str
) -> list[tuple[str, Model]]:
    unet, vae, sample_size = parts[UNET], parts[VAE], kind.sizes[prediction]
    configs = {
        "unet": unet_config(unet, sample_size) | _attention(kind, prediction),
        "vae": vae_config(vae, sample_size * 8) | _scaling(kind),
    }
    tensors: dict[str, Tensors] = {
        "unet": dict(unet_names(unet, levels(unet)[1])),
        "vae": dict(vae_names(vae, len(configs["vae"]["block_out_channels"]))),
    }
    for text in kind.texts:
        tensors[text.folder], configs[text.folder] = _text(file, text, parts[text.prefix])
    if kind.numbers:
        pooled = configs["text_encoder_2"]["projection_dim"]
        configs["unet"] |= added_config(unet, pooled, kind.numbers)
    return [(name, _model(file, name, configs[name], tensors[name])) for name in configs]


def _attention(kind: Kind, prediction: str) -> dict[str, Any]:
    """Tell that attention's scores need float32 in 2.1's model for 768 pixels.

    Nothing tells it from 2.0's, which would do without.
    """
    return {"upcast_attention": True} if (kind.name, prediction) == ("sd2", "v_prediction") else {}


def _scaling(kind: Kind) -> dict[str, Any]:
    """Tell what no weight does: how SDXL's latents are scaled, and that its VAE needs float32."""
    if kind.name == "sdxl":
        return {"scaling_factor": 0.13025, "force_upcast": True}
    return {"scaling_factor": 0.18215}


def _text(file: WeightFile, text: TextPart, found: Tensors) -> tuple[Tensors, dict[str, Any]]:
    if not text.open_clip:
        bare = {name.removeprefix("text_model."): tensor for name, tensor in found.items()}
        named = {f"text_model.{name}": tensor for name, tensor in bare.items()}
    else:
        blocks = {name.split(".")[2] for name in found if name.startswith("transformer.resblocks.")}
        layers = len(blocks) if text.projected else len(blocks) - 1
        named = dict(open_clip_names(found, layers))
    projection = named.pop("text_projection.weight", None)
    if text.projected and projection is None:
        raise KeyError(f"{text.prefix}text_projection")
    if text.projected and projection is not None:
        named["text_projection.weight"] = projection
    width = projection.shape[0] if text.projected and projection is not None else None
    config = text_config(named, "gelu" if text.open_clip else "quick_gelu", width)
    clip_tokenizer.check_vocabulary(file.path, config["vocab_size"])
    return named, config


def _model(file: WeightFile, folder: str, config: Mapping[str, Any], tensors: Tensors) -> Model:
    kind = config.get("_class_name") or config["architectures"][0]
    return Model(folder, file.path, kind, config, (WeightFile(file.path, tensors),))


def _setting(documents: Mapping[str, Mapping[str, Any]]) -> Callable[[str], object]:
    def setting(place: str) -> object:
        folder, _, key = place.partition(".")
        return documents.get(folder, {}).get(key)

    return setting


def _documents(
    kind: Kind, configs: Mapping[str, Mapping[str, Any]], scheduler: Mapping[str, Any]
) -> dict[str, str]:
    """Write what a folder would hold beside weights."""
    texts = {f"{name}/config.json": config for name, config in configs.items()}
    texts |= {"model_index.json": kind.index, "scheduler/scheduler_config.json": scheduler}
    documents = {name: json.dumps(text, indent=2) + "\n" for name, text in texts.items()}
    for text in kind.texts:
        folder = text.folder.replace("text_encoder", "tokenizer")
        padding = "!" if text.open_clip else clip_tokenizer.END
        documents |= clip_tokenizer.documents(folder, padding)
    return documents
