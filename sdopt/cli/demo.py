"""``sdopt demo``: a sheet of pictures from the carried model, and how long they took."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sdopt.runtime.generation import Timings

_PROMPTS = (
    "a large red circle on a blue background",
    "a yellow star on a green background",
    "a white ring on a magenta background",
    "a large blue triangle on a yellow background",
    "a green square on a white background",
    "a large cyan cross on a black background",
)


@click.command("demo")
@click.argument("bundle", default="shapes")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("demo.png"),
    show_default=True,
    help="Where the sheet goes.",
)
def command(bundle: str, output: Path) -> None:
    """Make a sheet of pictures with BUNDLE (by default the carried model) and print timings."""
    import sdopt
    from sdopt.cli.pictures import run_with_progress
    from sdopt.runtime.images import contact_sheet, save_png

    pipeline = sdopt.load(bundle)
    request = pipeline.request(_PROMPTS, seed=0, num_images_per_prompt=2)
    result = run_with_progress(pipeline, request)
    output.parent.mkdir(parents=True, exist_ok=True)
    settings = result.settings(0) | {"prompt": list(_PROMPTS), "seed": list(result.seeds)}
    save_png(contact_sheet(result.images, columns=4), output, settings)
    for prompt in _PROMPTS:
        click.echo(f"  {prompt}")
    _print_timings(result.timings, len(result.images), request.plan.stages)
    click.echo(f"The sheet is {output.resolve()}")


def _print_timings(timings: Timings, images: int, evaluations: int) -> None:
    click.echo(
        f"{images} pictures in {timings.total_ms / 1e3:.2f} s, {evaluations} evaluations each:"
    )
    for name, spent_ms in (
        ("text encoder", timings.text_encoder_ms),
        ("UNet", timings.unet_ms),
        ("VAE decoder", timings.vae_decoder_ms),
        ("all else", timings.overhead_ms),
    ):
        share = spent_ms / timings.total_ms
        click.echo(f"  {name:<13} {spent_ms / images:8.2f} ms a picture  {share:6.1%}")
