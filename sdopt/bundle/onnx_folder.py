"""ONNX folders that other tools wrote: Optimum's, and the legacy ones of diffusers.

They hold the same components under the same names as a bundle, without its manifest: no hashes, no
reference outputs. What a manifest would say is read off their configs and graphs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sdopt.bundle.families import Family
from sdopt.bundle.manifest import (
    FORMAT_VERSION,
    PREDICTION_TYPES,
    Component,
    Defaults,
    FileRecord,
    Manifest,
)
from sdopt.bundle.onnx_header import OnnxHeader, read_onnx_header
from sdopt.bundle.recognition import recognise
from sdopt.errors import BundleError, OnnxFolderError

_INDEX, _SCHEDULER = "model_index.json", "scheduler/scheduler_config.json"
_COMPONENTS = ("text_encoder", "text_encoder_2", "vae_encoder", "vae_decoder", "unet")
_OTHER_TOOLS = ("Onnx", "ORT")
"""What their pipeline classes' names begin with, before diffusers' name."""
_CONFIGS = {"vae": "vae_decoder"}
"""Folders of configs that have another name in ONNX folders."""
_SMALLEST_SIZE = 64
_DEFAULTS: dict[str, Any] = {
    "vae.scaling_factor": 0.18215,
    "vae.block_out_channels": (1, 1, 1, 1),
    "unet.sample_size": 64,
}
"""For legacy folders, which hold no configs: Stable Diffusion 1.x was all that they knew."""

Headers = Mapping[str, OnnxHeader]


def is_onnx_folder(folder: Path) -> bool:
    """Say whether a folder looks like one that another tool wrote."""
    return (folder / _INDEX).is_file() and (folder / "unet" / "model.onnx").is_file()


def read_onnx_folder(folder: Path) -> Manifest:
    """Read an ONNX folder as a manifest without hashes, parity, reference pairs and preview.

    Raises:
        OnnxFolderError: It is not complete, or not of a family that is known.
        BundleError: A graph is damaged.
    """
    headers = {
        name: read_onnx_header(folder / name / "model.onnx")
        for name in _COMPONENTS
        if (folder / name / "model.onnx").is_file()
    }
    settings = _settings(folder, headers)
    family = _family(folder, settings, headers)
    _check_tensors(folder, family, headers)
    scheduler = _json(folder, _SCHEDULER)
    tokenizers = sorted({encoding.tokenizer for encoding in family.text_encodings})
    for name in tokenizers:
        if not (folder / name).is_dir():
            raise OnnxFolderError(folder, f"{name}/ is missing", _INCOMPLETE)
    return Manifest(
        format_version=FORMAT_VERSION,
        sdopt_version="",
        family=family.name,
        prediction_type=_prediction_type(folder, scheduler),
        latent_channels=_channels(headers["vae_decoder"]),
        vae_scale_factor=2 ** (len(_value(settings, "vae.block_out_channels")) - 1),
        scaling_factor=float(_value(settings, "vae.scaling_factor")),
        defaults=_defaults(family, settings),
        scheduler=scheduler,
        tokenizers=tuple(tokenizers),
        components={name: _component(name, headers[name]) for name in family.components},
        preview=None,
        notes=_notes(headers),
        files=_files(folder),
        zero_negative_prompt=_zero_negative_prompt(family, settings),
    )


_INCOMPLETE = "Get the complete folder"
Settings = Callable[[str], object]


def _settings(folder: Path, headers: Headers) -> Settings:
    documents: dict[str, Mapping[str, Any]] = {"index": _json(folder, _INDEX)}
    unet = headers["unet"]
    widths = {spec.name: spec.shape[-1] for spec in unet.inputs if spec.shape}
    prompt = widths.get("encoder_hidden_states")
    from_graphs: dict[str, object] = {
        "unet.in_channels": unet.inputs[0].shape[1],
        "unet.cross_attention_dim": prompt,
        "unet.use_linear_projection": prompt != 768,  # OpenAI's CLIP in Stable Diffusion 1.x
        "text_encoder.hidden_size": headers["text_encoder"].outputs[0].shape[-1]
        if "text_encoder" in headers
        else None,
    }

    def setting(place: str) -> object:
        name, _, key = place.partition(".")
        if name not in documents:
            where = "scheduler_config.json" if name == "scheduler" else "config.json"
            file = f"{_CONFIGS.get(name, name)}/{where}"
            documents[name] = _json(folder, file) if (folder / file).is_file() else {}
        found = documents[name].get(key)
        return from_graphs.get(place) if found is None and not documents[name] else found

    return setting


def _value(settings: Settings, place: str) -> Any:
    found = settings(place)
    return _DEFAULTS[place] if found is None else found


def _family(folder: Path, settings: Settings, headers: Headers) -> Family:
    name = settings("index._class_name")
    for other in _OTHER_TOOLS:
        name = name.removeprefix(other) if isinstance(name, str) else name
    family = recognise(name, settings)
    if family is None:
        raise OnnxFolderError(
            folder,
            f"{_INDEX} says _class_name={name!r}, which is no family that sdopt knows",
            "Known are Stable Diffusion 1.x, 2.x and XL",
        )
    wanted = [name for name in family.components if name != "vae_encoder"]
    missing = [name for name in wanted if name not in headers]
    if missing:
        files = ", ".join(f"{name}/model.onnx" for name in missing)
        raise OnnxFolderError(folder, f"{files} is missing ({family.title})", _INCOMPLETE)
    return family


def _check_tensors(folder: Path, family: Family, headers: Headers) -> None:
    """Refuse graphs whose tensors have other names than everybody else's."""
    pooled = ("text_embeds", "time_ids") if family.pooled else ()
    guidance = ("timestep_cond",) if family.guidance == "embedded" else ()
    wanted = {
        "unet": {"sample", "timestep", "encoder_hidden_states", *pooled, *guidance, "out_sample"},
        "vae_decoder": {"latent_sample", "sample"},
        **{e.component: {"input_ids"} for e in family.text_encodings},
    }
    for name, tensors in wanted.items():
        specs = (*headers[name].inputs, *headers[name].outputs)
        if missing := sorted(tensors - {spec.name for spec in specs}):
            raise OnnxFolderError(
                folder,
                f"{name}/model.onnx has no tensor {', '.join(missing)}; "
                f"it has {', '.join(map(str, specs))}",
                "Export the model again with Optimum or sdopt",
            )


def _component(name: str, header: OnnxHeader) -> Component:
    halves = {spec.name: spec.dtype for spec in (*header.inputs, *header.outputs)}
    return Component(
        model=f"{name}/model.onnx",
        inputs=header.inputs,
        outputs=header.outputs,
        precision="fp16" if "float16" in halves.values() else "fp32",
        opset=header.opset,
        parity=None,
        reference=None,
    )


def _prediction_type(folder: Path, scheduler: Mapping[str, Any]) -> Any:
    found = scheduler.get("prediction_type", "epsilon")
    if found not in PREDICTION_TYPES:
        choices = ", ".join(PREDICTION_TYPES)
        raise OnnxFolderError(
            folder, f"{_SCHEDULER} says prediction_type={found!r}", f"Choices: {choices}"
        )
    return found


def _defaults(family: Family, settings: Settings) -> Defaults:
    factor = 2 ** (len(_value(settings, "vae.block_out_channels")) - 1)
    size = _value(settings, "unet.sample_size")
    height, width = size if isinstance(size, list) else (size, size)
    return Defaults(
        height=max(height * factor, _SMALLEST_SIZE),
        width=max(width * factor, _SMALLEST_SIZE),
        num_inference_steps=family.num_inference_steps,
        guidance_scale=family.guidance_scale,
    )


def _channels(header: OnnxHeader) -> int:
    channels = header.inputs[0].shape[1]
    return channels if isinstance(channels, int) else 4


def _notes(headers: Headers) -> tuple[str, ...]:
    timestep = next(spec for spec in headers["unet"].inputs if spec.name == "timestep")
    if timestep.dtype.startswith("int"):
        return ("This UNet takes whole timesteps: schedulers with others lose their fraction.",)
    return ()


def _zero_negative_prompt(family: Family, settings: Settings) -> bool:
    found = settings("index.force_zeros_for_empty_prompt")
    return family.pooled is not None and (found is None or bool(found))


def _files(folder: Path) -> dict[str, FileRecord]:
    """List the sizes of the graphs and what lies beside them; nothing is hashed."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and ".cache" not in p.parts)
    return {
        path.relative_to(folder).as_posix(): FileRecord(path.stat().st_size, "") for path in paths
    }


def _json(folder: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OnnxFolderError(
            folder, f"{name} is no readable JSON ({error})", _INCOMPLETE
        ) from error
    if not isinstance(content, dict):
        raise BundleError(f"{folder / name} is not a JSON object. {_INCOMPLETE}.")
    return content
