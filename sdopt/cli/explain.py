"""``sdopt explain``: one sheet that shows what Stable Diffusion does to a picture."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sdopt.cli.engine_options import choosing_engine
from sdopt.cli.fixed_size_option import fixed_size_option
from sdopt.engines.options import EngineOptions
from sdopt.engines.size_bucket import SizeBucket


@click.command("explain")
@click.argument("image", type=click.Path(path_type=Path))
@click.option(
    "--bundle",
    default="shapes",
    show_default=True,
    metavar="BUNDLE",
    help="The model to look into.",
)
@click.option("--prompt", default="", metavar="TEXT", help="What the model is told.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("explained.png"),
    show_default=True,
    help="Where the sheet goes: a .png, .svg or .pdf file.",
)
@click.option("--negative", "negative_prompt", metavar="TEXT", help="What it shall not show.")
@click.option(
    "--steps", "num_inference_steps", type=int, metavar="N", help="Steps.  [default: the bundle's]"
)
@click.option("--scheduler", metavar="NAME", help="Of the noise.  [default: the bundle's]")
@click.option(
    "--guidance", "guidance_scale", type=float, metavar="SCALE", help="[default: the bundle's]"
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of all noise.")
@click.option("--width", type=int, metavar="PIXELS", help="With --height.  [default: the bundle's]")
@click.option("--height", type=int, metavar="PIXELS", help="With --width.  [default: the bundle's]")
@click.option("--json", "as_json", is_flag=True, help="Print the sheet's figures as JSON.")
@choosing_engine
@fixed_size_option
def command(
    *,
    image: Path,
    bundle: str,
    prompt: str,
    output: Path,
    seed: int,
    as_json: bool,
    engine: str,
    engine_options: EngineOptions,
    fixed_size: SizeBucket | None,
    **options: object,
) -> None:
    """Show on one sheet what Stable Diffusion does to IMAGE, and how it makes a picture.

    The latents of IMAGE and what is made of them again, the same with noise at steps of the
    schedule and what the model takes each for, and a picture in the making from noise. The sheet
    needs matplotlib.
    """
    from sdopt.cli.explain_sheet import check_sheet, save_sheet
    from sdopt.cli.progress import progress_bar
    from sdopt.explaining import explain
    from sdopt.pipeline import load

    check_sheet(output)
    pipeline = load(
        bundle,
        engine=engine,
        device=engine_options.device,
        precision=engine_options.precision,
        batching=engine_options.batching,
        fixed_size=fixed_size,
    )
    given = {name: value for name, value in options.items() if value is not None}
    with progress_bar("Loading") as report:
        explanation = explain(
            image,
            prompt,
            pipeline=pipeline,
            seed=seed,
            progress=report,
            **given,  # type: ignore[arg-type]
        )
    save_sheet(explanation, bundle, output)
    if as_json:
        click.echo(json.dumps(explanation.figures(), indent=2, ensure_ascii=False))
    click.echo(f"The sheet is {output.resolve()}", err=as_json)
