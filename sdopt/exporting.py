"""Export with its parity check on ONNX Runtime: the one place that knows both rooms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sdopt.bundle.manifest import Manifest, Precision, PredictionType
from sdopt.engines.contract import Array
from sdopt.engines.options import EngineOptions, Model
from sdopt.export.exporter import export as export_checked
from sdopt.export.options import ExportOptions
from sdopt.export.progress import Report
from sdopt.verification import run_apart

_REFERENCE_ENGINE = "onnxruntime"


def export(
    checkpoint: str | Path,
    out: str | Path,
    *,
    precision: Precision = "fp32",
    opset: int = 18,
    variant: str | None = None,
    prediction_type: PredictionType | None = None,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
    share_with: Sequence[str | Path] = (),
    without_islands: Sequence[str] = (),
    progress: Report | None = None,
) -> Manifest:
    """Export a checkpoint to an ONNX bundle whose graphs were compared with torch.

    Args:
        checkpoint: A folder in the diffusers layout, a single safetensors file, or a model on the
            Hugging Face hub, as ``org/name`` or ``org/name@revision``.
        out: The bundle's folder. It must not exist yet, and appears when all of it is there.
        precision: What the graphs compute in, but for islands of fp32 that are needed.
        opset: The ONNX opset of the graphs, 18 to 20.
        variant: Of the checkpoint's weight files, such as ``"fp16"``; None for the plain ones.
        prediction_type: What the UNet predicts, for single files that do not say.
        num_inference_steps: What the bundle's requests mean where they do not say, 1 to 1000;
            None for what is usual in the family.
        guidance_scale: Likewise, at least 0.
        share_with: Other bundles; files with the same content, such as a common VAE's, take up
            disk space once.
        without_islands: Names of islands that are lowered all the same, such as ``"vae"`` for a
            VAE that was repaired; see :data:`sdopt.export.precision.ISLANDS`.
        progress: Called with what is being done and the share that is done, 0 to 1.

    Returns:
        The bundle's manifest.

    Raises:
        ExportError: The checkpoint cannot be exported; the message says why.
        BundleWriteError: ``out`` exists already, or the disk is full.
        MissingDependencyError: ``sdopt[export]`` or ``sdopt[cpu]`` is not installed.
    """
    options = ExportOptions(
        precision=precision,
        opset=opset,
        variant=variant,
        prediction_type=prediction_type,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        share_with=tuple(share_with),
        without_islands=tuple(without_islands),
    )
    return export_checked(checkpoint, out, run=_run, options=options, progress=progress)


def _run(model: Path, inputs: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
    frugal = EngineOptions(frugal=True)  # a call or two: not worth the memory of getting ready
    return run_apart(_REFERENCE_ENGINE, Model(model.parent.name, model), inputs, frugal).arrays
