"""``sdopt export``: a checkpoint in, a bundle out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sdopt.bundle.manifest import PRECISIONS, PREDICTION_TYPES
from sdopt.cli.progress import progress_bar


@click.command("export")
@click.argument("checkpoint")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="fp32",
    show_default=True,
    help="What the graphs compute in, but for islands of fp32 without which they overflow.",
)
@click.option(
    "--opset", default=18, show_default=True, help="The ONNX opset of the graphs, 18 to 20."
)
@click.option("--variant", help="Of the weight files, such as fp16.  [default: the plain ones]")
@click.option(
    "--prediction-type",
    type=click.Choice(PREDICTION_TYPES),
    help="What the UNet predicts, for single files that do not say.",
)
@click.option(
    "--steps",
    "num_inference_steps",
    type=click.IntRange(1, 1000),
    help="Inference steps of requests that do not say.  [default: the family's]",
)
@click.option(
    "--guidance",
    "guidance_scale",
    type=click.FloatRange(0),
    help="Guidance of requests that do not say.  [default: the family's]",
)
@click.option(
    "--share",
    "share_with",
    multiple=True,
    metavar="BUNDLE",
    help="Share files of the same content with this bundle; may be given several times.",
)
@click.option(
    "--without-island",
    "without_islands",
    multiple=True,
    metavar="NAME",
    help="Lower also this fp32 island (sdopt info names them); the check against torch decides.",
)
def command(checkpoint: str, out: Path, **options: Any) -> None:
    """Export CHECKPOINT to the new bundle OUT.

    CHECKPOINT is a folder in the diffusers layout, a single safetensors file, or a model on the
    Hugging Face hub, as org/name or org/name@revision.

    Every graph is compared with torch before the bundle appears.
    """
    from sdopt.exporting import export

    with progress_bar("Reading the checkpoint") as report:
        manifest = export(checkpoint, out, **options, progress=report)
    for name, component in manifest.components.items():
        parity, islands = component.parity, ", ".join(i.name for i in component.islands)
        assert parity is not None
        beside = f" (fp32: {islands})" if islands else ""
        click.echo(
            f"{name:<13} {component.precision}{beside}, "
            f"relative L2 to torch {parity.relative_l2:.1e}, "
            f"largest error {parity.max_error:.1e} (at most {parity.tolerance:.0e})"
        )
    for note in manifest.notes:
        click.secho(f"Note: {note}", fg="yellow", err=True)
    total = sum(record.size_bytes for record in manifest.files.values())
    click.echo(f"{out} holds {len(manifest.files)} files, {total / 1e6:,.1f} MB.")
