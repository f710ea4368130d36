"""What lies on disk: a diffusers folder, read and checked before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from sdopt.bundle.families import FAMILIES, Family
from sdopt.bundle.recognition import recognise
from sdopt.errors import CheckpointError
from sdopt.export.families import ModelFolder, check, model_folders
from sdopt.export.weights import WeightFile, find_weights

_INDEX = "model_index.json"
_SCHEDULER = "scheduler/scheduler_config.json"
_TOKENIZER_LAYOUTS = (("vocab.json", "merges.txt"), ("tokenizer.json",))
_NOT_EXPORTED = ("safety_checker", "image_encoder")


@dataclass(frozen=True, slots=True)
class Model:
    """One network of a checkpoint.

    Attributes:
        folder: Its folder's name, such as ``"unet"``.
        path: Its folder.
        model_class: Its class in diffusers or transformers, such as ``"UNet2DConditionModel"``.
        config: Its ``config.json``.
        weights: Its safetensors files.
    """

    folder: str
    path: Path
    model_class: str
    config: Mapping[str, Any]
    weights: tuple[WeightFile, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint in which everything that export needs is there.

    Attributes:
        path: The folder, or the single file.
        family: What kind of pipeline it is.
        models: By folder name.
        scheduler: ``scheduler_config.json``.
        tokenizers: Folder names.
        zero_negative_prompt: Whether a negative prompt that is not given means zeros.
        notes: What is in the checkpoint and is not exported, for people.
        documents: What goes into the bundle as it is: by its path there, the file or its text.
    """

    path: Path
    family: Family
    models: Mapping[str, Model]
    scheduler: Mapping[str, Any]
    tokenizers: tuple[str, ...]
    zero_negative_prompt: bool
    notes: tuple[str, ...]
    documents: Mapping[str, Path | str]

    @classmethod
    def read(cls, path: Path, variant: str | None = None) -> Checkpoint:
        """Read and check a diffusers folder. Only headers of the weight files are read.

        Args:
            path: The folder, with model_index.json in it.
            variant: As in ``model.fp16.safetensors``. None takes the files without a variant or,
                where there are none, the only variant that there is.

        Raises:
            CheckpointError: The folder is not there, not complete, or of an unknown family.
        """
        if not path.is_dir():
            raise CheckpointError(path, "there is no such folder", _WANTED)
        if not (path / _INDEX).is_file():
            raise CheckpointError(path, f"there is no {_INDEX} in this folder", _WANTED)
        index = _read_json(path / _INDEX)
        family = _family(path, index)
        models = {row.folder: _read_model(path, row, variant) for row in model_folders(family)}
        check(family, path, {name: model.config for name, model in models.items()})
        if not (path / _SCHEDULER).is_file():
            raise CheckpointError(path, f"{_SCHEDULER} is missing", _INCOMPLETE)
        tokenizers = tuple(sorted({encoding.tokenizer for encoding in family.text_encodings}))
        for tokenizer in tokenizers:
            _check_tokenizer(path, tokenizer)
        return cls(
            path=path,
            family=family,
            models=models,
            scheduler=_read_json(path / _SCHEDULER),
            tokenizers=tokenizers,
            zero_negative_prompt=zero_negative_prompt(family, index),
            notes=_notes(index),
            documents=_documents(path, models, tokenizers),
        )

    def config(self, folder: str) -> Mapping[str, Any]:
        """Return the config.json of a folder."""
        return self.models[folder].config

    @property
    def float32_bytes(self) -> int:
        """What all weights take as float32, in bytes."""
        tensors = (t for m in self.models.values() for f in m.weights for t in f.tensors.values())
        return 4 * sum(prod(tensor.shape) for tensor in tensors)


_WANTED = (
    "A checkpoint is a folder in the diffusers layout (model_index.json and one folder per "
    "component), a single safetensors file, or org/name on the Hugging Face hub"
)
_INCOMPLETE = "Get the complete checkpoint"


def _family(path: Path, index: Mapping[str, Any]) -> Family:
    name = index.get("_class_name")
    documents = {"index": index}

    def setting(place: str) -> object:
        folder, _, key = place.partition(".")
        if folder not in documents:
            documents[folder] = _document(path, folder)
        return documents[folder].get(key)

    family = recognise(name, setting)
    if family is None:
        known = ", ".join(
            dict.fromkeys(name for f in FAMILIES.values() for name in f.pipeline_classes)
        )
        raise CheckpointError(
            path,
            f"{_INDEX} says _class_name={name!r}, which is no family that sdopt knows",
            f"Known: {known}. Choose a checkpoint of one of these",
        )
    return family


def _document(path: Path, folder: str) -> Mapping[str, Any]:
    """Read a folder's settings; those of a folder that is not there are empty."""
    file = path / folder / ("scheduler_config.json" if folder == "scheduler" else "config.json")
    return _read_json(file) if file.is_file() else {}


def zero_negative_prompt(family: Family, index: Mapping[str, Any]) -> bool:
    """Read a setting that pipelines with pooled prompts have, and that is on where it is absent."""
    return family.pooled is not None and bool(index.get("force_zeros_for_empty_prompt", True))


def _read_model(path: Path, row: ModelFolder, variant: str | None) -> Model:
    folder = path / row.folder
    if not (folder / "config.json").is_file():
        raise CheckpointError(path, f"{row.folder}/config.json is missing", _INCOMPLETE)
    config = _read_json(folder / "config.json")
    found = config.get("_class_name") or next(iter(config.get("architectures") or []), None)
    if found != row.model_class:
        raise CheckpointError(
            path,
            f"{row.folder}/config.json says {found!r}, where {row.model_class!r} is expected",
            "Choose a checkpoint whose model_index.json and folders belong together",
        )
    return Model(
        row.folder, folder, row.model_class, config, find_weights(folder, row.weights, variant)
    )


def _documents(
    path: Path, models: Mapping[str, Model], tokenizers: Sequence[str]
) -> dict[str, Path | str]:
    settings = [f"{name}/config.json" for name in models]
    words = [
        file.relative_to(path).as_posix()
        for folder in tokenizers
        for file in sorted((path / folder).iterdir())
        if file.suffix in (".json", ".txt") and file.is_file()
    ]
    return {name: path / name for name in (_INDEX, _SCHEDULER, *settings, *words)}


def _check_tokenizer(path: Path, folder: str) -> None:
    if not any(
        all((path / folder / name).is_file() for name in names) for names in _TOKENIZER_LAYOUTS
    ):
        raise CheckpointError(
            path,
            f"{folder}/ holds no tokenizer",
            "Either vocab.json and merges.txt or tokenizer.json must be there. " + _INCOMPLETE,
        )


def _notes(index: Mapping[str, Any]) -> tuple[str, ...]:
    present = [name for name in _NOT_EXPORTED if (index.get(name) or [None])[0] is not None]
    return tuple(f"The checkpoint's {name.replace('_', ' ')} is not exported." for name in present)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(path, f"this is no readable JSON ({error})", _INCOMPLETE) from error
    if not isinstance(content, dict):
        raise CheckpointError(path, "this is not a JSON object", _INCOMPLETE)
    return content
