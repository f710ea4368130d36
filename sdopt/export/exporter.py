"""Checkpoint to bundle: the one call that everything else in this room serves."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import sdopt
from sdopt.bundle.bundle import Bundle
from sdopt.bundle.manifest import (
    FORMAT_VERSION,
    Component,
    Defaults,
    IslandRecord,
    Manifest,
    Parity,
    Precision,
    Preview,
)
from sdopt.bundle.sharing import share_files
from sdopt.bundle.writer import seal, writing_aside
from sdopt.errors import MissingDependencyError
from sdopt.export import parity
from sdopt.export.checkpoint import Checkpoint
from sdopt.export.components import COMPONENTS, DOORS, TOLERANCE
from sdopt.export.jobs import Job
from sdopt.export.loop_graphs import write_loop_graphs
from sdopt.export.options import ExportOptions, opset_of
from sdopt.export.parity import Run
from sdopt.export.precision import ISLANDS, Island, computed_in, islands_of
from sdopt.export.progress import Progress, Report
from sdopt.export.settings import default_size, scaling_factor, vae_scale_factor
from sdopt.export.sources import locate, read_checkpoint
from sdopt.export.workers import running
from sdopt.workers.running import Message

_SIDE_BY_SIDE_BYTES = 8e9
"""The most that the weights of networks which are exported side by side may take in float32:
Stable Diffusion 2.1's are 5.2 GB, SDXL's 13.9 GB."""


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
        held: dict[str, Mapping[str, int]] = {}
        preview: Preview | None = None
        with closing(_messages(source, _jobs(source, wanted, folder, scratch))) as messages:
            for message in messages:
                name = message["component"]
                tracker.at(name, message["stage"])
                if message["stage"] == "done":
                    precision = _precision(source, name, wanted)
                    checks[name] = _check(name, folder, scratch, precision, run)
                    held[name] = message["islands"]
                    preview = _preview(message) or preview
                    tracker.at(name, "checked")
        shutil.rmtree(scratch)
        assert preview is not None
        components = {
            name: _component(name, source, wanted, checks[name], held[name])
            for name in source.family.components
        }
        described = _manifest(source, wanted, components, preview)
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
    """Give the largest component a process of its own, and the others one together."""
    *rest, largest = sorted(source.family.components, key=lambda name: COMPONENTS[name].effort)
    return [
        Job(
            checkpoint=source.path,
            variant=options.variant,
            prediction_type=options.prediction_type,
            components=names,
            precision=options.precision,
            without_islands=options.without_islands,
            opset=options.opset,
            out=folder,
            scratch=scratch,
        )
        for names in ((largest,), tuple(rest))
    ]


def _messages(source: Checkpoint, jobs: list[Job]) -> Generator[Message]:
    """Run jobs side by side or, where networks are large, one after the other."""
    together = source.float32_bytes <= _SIDE_BY_SIDE_BYTES
    for group in [jobs] if together else [[job] for job in jobs]:
        with running(group) as messages:
            yield from messages


def _check(name: str, folder: Path, scratch: Path, precision: Precision, run: Run) -> Parity:
    """Compare a graph with torch; one of fewer bits by a stand-in that rounds as hardware would."""
    model, references = folder / name / "model.onnx", scratch / f"{name}.safetensors"
    if precision == "fp32":
        return parity.check(name, model, references, TOLERANCE[precision], run)
    from sdopt.export.precision.emulation import emulate

    stand_in = model.with_name("rounded.onnx")
    emulate(model, stand_in)
    try:
        return parity.check(name, stand_in, references, TOLERANCE[precision], run)
    finally:
        stand_in.unlink()


def _islands(source: Checkpoint, name: str, options: ExportOptions) -> tuple[Island, ...]:
    folder = COMPONENTS[name].folder
    return islands_of(source, folder, options.precision, options.without_islands)


def _precision(source: Checkpoint, name: str, options: ExportOptions) -> Precision:
    return computed_in(options.precision, _islands(source, name, options))


def _preview(message: Message) -> Preview | None:
    fitted = message.get("preview")
    if fitted is None:
        return None
    return Preview(matrix=tuple(map(tuple, fitted["matrix"])), bias=tuple(fitted["bias"]))


def _manifest(
    source: Checkpoint,
    options: ExportOptions,
    components: Mapping[str, Component],
    preview: Preview,
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
        components=components,
        preview=preview,
        notes=source.notes,
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


def _component(
    name: str,
    source: Checkpoint,
    options: ExportOptions,
    check: Parity,
    held: Mapping[str, int],
) -> Component:
    row, precision = COMPONENTS[name], _precision(source, name, options)
    return Component(
        model=f"{name}/model.onnx",
        inputs=row.inputs(source, DOORS[precision]),
        outputs=row.outputs(source, DOORS[precision]),
        precision=precision,
        opset=opset_of(precision, options.opset),
        parity=check,
        reference=f"{name}/reference.safetensors",
        islands=tuple(
            IslandRecord(island, ISLANDS[island].reason, nodes)
            for island, nodes in held.items()
            if nodes
        ),
    )
