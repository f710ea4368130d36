"""The manifest of a bundle: everything a runtime must know before it opens the first graph."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from sdopt.bundle import strict
from sdopt.bundle.tensors import TensorSpec
from sdopt.errors import ManifestError

FILE_NAME = "sdopt.json"
FORMAT_VERSION = 1

Precision = Literal["fp32", "fp16", "bf16"]
PredictionType = Literal["epsilon", "v_prediction", "sample"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
PREDICTION_TYPES: tuple[str, ...] = get_args(PredictionType)


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Size in bytes and SHA-256 (hex) of one file of the bundle."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Parity:
    """How far a graph was from torch in fp32 when it was exported; all dimensionless.

    Of an imported graph it is the distance from the graph that was imported, of a loop graph from
    the textbook in float64.

    Attributes:
        relative_l2: The largest ``|ours - torch|_2 / |torch|_2`` over all cases and outputs.
        max_error: The largest ``max|ours - torch| / max|torch|``.
        tolerance: What ``relative_l2`` and ``max_error`` may be at most.
        cases: How many input sets were compared.
    """

    relative_l2: float
    max_error: float
    tolerance: float
    cases: int


@dataclass(frozen=True, slots=True)
class IslandRecord:
    """A part of a network that computes in fp32 in a graph of fewer bits.

    Attributes:
        name: In the exporter's table of islands.
        reason: What goes wrong without it, for people.
        nodes: How many of the graph's nodes it holds.
    """

    name: str
    reason: str
    nodes: int


@dataclass(frozen=True, slots=True)
class Component:
    """One network of the bundle.

    Attributes:
        model: The ONNX file, as a path relative to the bundle.
        inputs: The graph's inputs, in its order.
        outputs: The graph's outputs, in its order.
        precision: What the graph computes in, but for its islands.
        opset: The ONNX opset of the graph.
        parity: Measured at export; None in another tool's folder, which says nothing of it.
        reference: A safetensors file with a few inputs and torch's fp32 outputs, as
            ``{case}.{tensor}``, relative to the bundle; None likewise.
        islands: What computes in fp32 although fewer bits were asked for.
    """

    model: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    precision: Precision
    opset: int
    parity: Parity | None
    reference: str | None
    islands: tuple[IslandRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Preview:
    """A linear map from latents to RGB for previews: ``rgb = latents @ matrix + bias``.

    Attributes:
        matrix: (latent_channels, 3), from scaled latents to RGB in 0..1.
        bias: (3,).
    """

    matrix: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a request means where it does not say.

    Attributes:
        height: In pixels, what the model was trained for.
        width: In pixels.
        num_inference_steps: As chosen at export.
        guidance_scale: As chosen at export; dimensionless.
    """

    height: int
    width: int
    num_inference_steps: int
    guidance_scale: float


@dataclass(frozen=True, slots=True)
class Manifest:
    """What ``sdopt.json`` says.

    Attributes:
        format_version: Of this file; a runtime refuses versions that it does not know.
        sdopt_version: The version that exported the bundle.
        family: A name in :data:`sdopt.bundle.families.FAMILIES`.
        prediction_type: What the UNet predicts.
        latent_channels: Channels of the latents.
        vae_scale_factor: Pixels per latent, along one side.
        scaling_factor: Latents are the VAE's latents times this.
        defaults: What a request means where it does not say.
        scheduler: ``scheduler_config.json`` as found in the checkpoint.
        tokenizers: Folders of the tokenizers, relative to the bundle.
        components: By name, such as ``"unet"``.
        preview: Latents to RGB; None where nobody fitted it.
        notes: What a user should know, such as a safety checker that was not exported.
        files: Every file but this one, by path relative to the bundle, with ``/``.
        zero_negative_prompt: Whether a negative prompt that is not given means embeddings of
            zeros, as ``force_zeros_for_empty_prompt`` in model_index.json says.
    """

    format_version: int
    sdopt_version: str
    family: str
    prediction_type: PredictionType
    latent_channels: int
    vae_scale_factor: int
    scaling_factor: float
    defaults: Defaults
    scheduler: Mapping[str, object]
    tokenizers: tuple[str, ...]
    components: Mapping[str, Component]
    preview: Preview | None
    notes: tuple[str, ...]
    files: Mapping[str, FileRecord]
    zero_negative_prompt: bool = False

    def to_json(self) -> str:
        """Return the text of ``sdopt.json``; the same manifest gives the same text."""
        return json.dumps(strict.plain(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read the text of ``sdopt.json`` strictly.

        Raises:
            ManifestError: The text is no JSON, of another format version, or says anything that
                a manifest may not say.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ManifestError("the whole file", f"this is not JSON ({error})") from error
        _check_version(data)
        manifest = strict.read(cls, data, "manifest")
        _check_paths(manifest)
        return manifest


def inside(path: str) -> bool:
    """Say whether a manifest's path stays inside the bundle: relative, plain, no ``..``."""
    pure = PurePosixPath(path)
    unsafe = pure.is_absolute() or "\\" in path or ":" in path or "\0" in path
    return not unsafe and str(pure) == path and path != "." and ".." not in pure.parts


def read_manifest(folder: Path) -> Manifest:
    """Read and check ``folder/sdopt.json``.

    Raises:
        ManifestError: It is not a manifest that can be trusted.
        OSError: It cannot be read.
    """
    return Manifest.from_json((folder / FILE_NAME).read_text(encoding="utf-8"))


def _check_version(data: object) -> None:
    found = data.get("format_version") if isinstance(data, dict) else None  # pyright: ignore
    if found != FORMAT_VERSION:
        raise ManifestError(
            "format_version",
            f"{found!r} is not {FORMAT_VERSION}, the version that this sdopt reads",
        )


def _check_paths(manifest: Manifest) -> None:
    for path in (*manifest.files, *manifest.tokenizers):
        if not inside(path):
            raise ManifestError("files", f"the path {path!r} leads out of the bundle")
    for name, component in manifest.components.items():
        for file in (component.model, component.reference):
            if file is not None and file not in manifest.files:
                raise ManifestError(f"components.{name}", f"{file!r} is not listed under files")
