"""Checkpoint to bundle: the one call that everything else in this room serves."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import sdopt
from sdopt.bundle.bundle import Bundle
from sdopt.bundle.manifest import (
    FORMAT_VERSION,
    Component,
    Defaults,
    Manifest,
    Parity,
    Precision,
    PredictionType,
    Preview,
)
from sdopt.bundle.sharing import share_files
from sdopt.bundle.writer import seal, writing_aside
from sdopt.errors import ExportError, MissingDependencyError
from sdopt.export import parity
from sdopt.export.checkpoint import Checkpoint
from sdopt.export.components import COMPONENTS, FLOAT, TOLERANCE
from sdopt.export.jobs import Job
from sdopt.export.loop_graphs import write_loop_graphs
from sdopt.export.parity import Run
from sdopt.export.progress import Progress, Report
from sdopt.export.settings import default_size, scaling_factor, vae_scale_factor
from sdopt.export.sources import locate, read_checkpoint
from sdopt.export.workers import Message, running

OPSETS = (18, 19, 20)
"""18 is what every fusion pass knows; from 21 on GroupNormalization has no ONNX Runtime kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """How a checkpoint is exported.

    Attributes:
        precision: What the graphs compute in.
        opset: The ONNX opset of the graphs, one of :data:`OPSETS`.
        variant: Of the checkpoint's weight files, such as ``"fp16"``. None takes the files without
            a variant or, where there are none, the only variant that there is.
        prediction_type: What the UNet predicts, for single files that do not say.
        num_inference_steps: What the bundle's requests mean where they do not say; None for what
            is usual in the family.
        guidance_scale: Likewise.
        share_with: Other bundles; files with the same content are shared with them.
    """

    precision: Precision = "fp32"
    opset: int = 18
    variant: str | None = None
    prediction_type: PredictionType | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    share_with: tuple[str | Path, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise ExportError(_choices("precision", self.precision, get_args(Precision)))
        if self.opset not in OPSETS:
            raise ExportError(_choices("opset", self.opset, OPSETS))
        if self.prediction_type not in (None, *get_args(PredictionType)):
            choices = get_args(PredictionType)
            raise ExportError(_choices("prediction_type", self.prediction_type, choices))
        steps, guidance = self.num_inference_steps, self.guidance_scale
        if steps is not None and not 1 <= steps <= 1000:
            raise ExportError(f"num_inference_steps={steps} is not 1 to 1000.")
        if guidance is not None and not 0 <= guidance < float("inf"):
            raise ExportError(f"guidance_scale={guidance} is not a number from 0.")


def export(
    checkpoint: str | Path,
    out: str | Path,
    *,
    run: Run,
    options: ExportOptions | None = None,
    progress: Report | None = None,
) -> Manifest:
    """Export a checkpoint to ONNX, check every graph against torch, and write a bundle.

    Args:
        checkpoint: A folder in the diffusers layout, a single safetensors file, or a model on the
            Hugging Face hub, as ``org/name`` or ``org/name@revision``.
        out: The bundle's folder, which must not exist yet. It appears when all of it is there.
        run: Runs a graph on inputs, for the comparison with torch.
        options: How; None for the defaults.
        progress: Called with what is being done and the share that is done, 0 to 1.

    Returns:
        The bundle's manifest.

    Raises:
        HubError: The model cannot be downloaded.
        CheckpointError: The checkpoint is not complete, damaged, or of an unknown family.
        WeightsMismatchError: Weights are missing or unexpected.
        ParityError: A graph does not compute what torch computes.
        ExportError: Anything else went wrong in a worker process.
        BundleWriteError: ``out`` exists, or the disk is full.
        MissingDependencyError: ``sdopt[export]`` is not installed.
    """
    _check_dependencies()
    wanted = options or ExportOptions()
    others = [Bundle.open(other) for other in wanted.share_with]
    opened = locate(checkpoint, wanted.variant, progress)
    source = read_checkpoint(opened, wanted.variant, wanted.prediction_type)
    with writing_aside(Path(out)) as folder:
        scratch = folder / ".scratch"
        scratch.mkdir()
        tracker = Progress(source.family.components, progress)
        _write_documents(source, folder)
        checks: dict[str, Parity] = {}
        preview: Preview | None = None
        with running(_jobs(source, wanted, folder, scratch)) as messages:
            for message in messages:
                name = message["component"]
                tracker.at(name, message["stage"])
                if message["stage"] == "done":
                    tolerance = TOLERANCE[_precision(source, name, wanted)]
                    checks[name] = _check(name, folder, scratch, tolerance, run)
                    preview = _preview(message) or preview
                    tracker.at(name, "checked")
        shutil.rmtree(scratch)
        assert preview is not None
        described = _manifest(source, wanted, checks, preview)
        manifest = seal(folder, _with_loop_graphs(described, folder))
        share_files(folder, manifest, others)
        tracker.finished()
    return manifest


def _check_dependencies() -> None:
    for package in ("torch", "diffusers", "transformers", "onnx", "onnxscript"):
        if find_spec(package) is None:
            raise MissingDependencyError(package, "export")


def _write_documents(source: Checkpoint, folder: Path) -> None:
    for name, document in source.documents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(document, str):
            (folder / name).write_text(document, encoding="utf-8")
        else:
            shutil.copyfile(document, folder / name)


def _jobs(source: Checkpoint, options: ExportOptions, folder: Path, scratch: Path) -> list[Job]:
    """Give the largest component a process of its own, and the others one together, beside it."""
    *rest, largest = sorted(source.family.components, key=lambda name: COMPONENTS[name].effort)
    return [
        Job(
            checkpoint=source.path,
            variant=options.variant,
            prediction_type=options.prediction_type,
            components=names,
            precision=options.precision,
            opset=options.opset,
            out=folder,
            scratch=scratch,
        )
        for names in ((largest,), tuple(rest))
    ]


def _check(name: str, folder: Path, scratch: Path, tolerance: float, run: Run) -> Parity:
    references = scratch / f"{name}.safetensors"
    return parity.check(name, folder / name / "model.onnx", references, tolerance, run)


def _precision(source: Checkpoint, name: str, options: ExportOptions) -> Precision:
    return source.precision(COMPONENTS[name].folder, options.precision)


def _preview(message: Message) -> Preview | None:
    fitted = message.get("preview")
    if fitted is None:
        return None
    return Preview(matrix=tuple(map(tuple, fitted["matrix"])), bias=tuple(fitted["bias"]))


def _manifest(
    source: Checkpoint, options: ExportOptions, checks: Mapping[str, Parity], preview: Preview
) -> Manifest:
    vae = source.config("vae")
    return Manifest(
        format_version=FORMAT_VERSION,
        sdopt_version=sdopt.__version__,
        family=source.family.name,
        prediction_type=source.scheduler.get("prediction_type", "epsilon"),
        latent_channels=vae["latent_channels"],
        vae_scale_factor=vae_scale_factor(vae),
        scaling_factor=scaling_factor(vae),
        defaults=_defaults(source, options),
        scheduler=source.scheduler,
        tokenizers=source.tokenizers,
        components={
            name: _component(name, source, options, checks[name])
            for name in source.family.components
        },
        preview=preview,
        notes=(*source.notes, *_upcast_notes(source, options)),
        files={},
        zero_negative_prompt=source.zero_negative_prompt,
    )


def _with_loop_graphs(manifest: Manifest, folder: Path) -> Manifest:
    networks = manifest.components
    graphs = write_loop_graphs(folder, networks["unet"], manifest.latent_channels)
    return replace(manifest, components={**networks, **graphs})


def _defaults(source: Checkpoint, options: ExportOptions) -> Defaults:
    family, (steps, guidance) = source.family, (options.num_inference_steps, options.guidance_scale)
    height, width = default_size(source.config("unet"), source.config("vae"))
    return Defaults(
        height=height,
        width=width,
        num_inference_steps=family.num_inference_steps if steps is None else steps,
        guidance_scale=family.guidance_scale if guidance is None else guidance,
    )


def _upcast_notes(source: Checkpoint, options: ExportOptions) -> tuple[str, ...]:
    if source.precision("vae", options.precision) == options.precision:
        return ()
    return (
        "The VAE computes in fp32, because it overflows in fp16: vae/config.json says "
        "force_upcast=true.",
    )


def _component(name: str, source: Checkpoint, options: ExportOptions, check: Parity) -> Component:
    row, precision = COMPONENTS[name], _precision(source, name, options)
    return Component(
        model=f"{name}/model.onnx",
        inputs=row.inputs(source, FLOAT[precision]),
        outputs=row.outputs(source, FLOAT[precision]),
        precision=precision,
        opset=options.opset,
        parity=check,
        reference=f"{name}/reference.safetensors",
    )


def _choices(name: str, value: object, choices: Sequence[object]) -> str:
    return f"{name}={value!r} is not allowed. Choices: {', '.join(map(str, choices))}."
