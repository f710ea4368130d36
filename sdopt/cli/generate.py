"""``sdopt generate``: prompts in, PNG files out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from sdopt.cli.engine_options import choosing_engine
from sdopt.cli.fixed_size_option import fixed_size_option
from sdopt.cli.request_options import HIRES, IMAGE, REFINER, SCHEDULE, SIZES, VARIATION, taking
from sdopt.cli.vae_options import tiling_option
from sdopt.engines.catalog import AUTO
from sdopt.engines.options import EngineOptions, Loop, VaeTiling
from sdopt.engines.size_bucket import SizeBucket


@click.command("generate")
@click.argument("bundle")
@click.argument("prompts", metavar="PROMPT…", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("picture.png"),
    show_default=True,
    help="A PNG file; several pictures get numbered names and a contact sheet of this name. A "
    "safetensors file gets the latents instead.",
)
@click.option(
    "--negative", "negative_prompt", metavar="TEXT", help="What the pictures shall not show."
)
@click.option(
    "--clip-skip", type=int, metavar="N", help="Leave out the text encoder's last N layers."
)
@click.option(
    "--embedding",
    "embeddings",
    multiple=True,
    metavar="FILE[=WORD]",
    help="A textual inversion that prompts can name, by WORD or its own trigger word.",
)
@taking(IMAGE, SCHEDULE)
@click.option(
    "--guidance",
    "guidance_scale",
    type=float,
    metavar="SCALE",
    help="Off at 1 and below.  [default: the bundle's]",
)
@click.option(
    "--seed", type=int, metavar="SEED", help="Picture i is made from SEED + i.  [default: drawn]"
)
@click.option("--width", type=int, metavar="PIXELS", help="With --height.  [default: the bundle's]")
@click.option("--height", type=int, metavar="PIXELS", help="With --width.  [default: the bundle's]")
@click.option(
    "-n", "num_images_per_prompt", type=int, metavar="N", help="Pictures per prompt.  [default: 1]"
)
@taking(VARIATION, HIRES, SIZES, REFINER)
@tiling_option
@choosing_engine
@fixed_size_option
@click.option(
    "--loop",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="Where guidance and scheduler compute: host, device, or auto for the faster.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print settings, seeds, timings and paths as JSON."
)
def command(
    *,
    bundle: str,
    prompts: tuple[str, ...],
    output: Path,
    embeddings: tuple[str, ...],
    engine: str,
    engine_options: EngineOptions,
    fixed_size: SizeBucket | None,
    loop: Loop,
    as_json: bool,
    refiner: Path | None,
    vae_tiling: VaeTiling,
    **options: Any,
) -> None:
    """Make pictures of each PROMPT with BUNDLE, a folder or a carried model such as "shapes"."""
    import sdopt
    from sdopt.cli.pictures import run_with_progress, save_pictures, summary
    from sdopt.runtime.latent_file import SUFFIX

    pipeline = sdopt.load(
        bundle,
        engine=engine,
        device=engine_options.device,
        precision=engine_options.precision,
        loop=loop,
        refiner=refiner,
        batching=engine_options.batching,
        fixed_size=fixed_size,
        vae_tiling=vae_tiling,
    )
    if engine == AUTO:
        click.echo(f"Engine {pipeline.engine}: {pipeline.engine_reason}.", err=True)
    for embedding in embeddings:
        file, _, word = embedding.partition("=")
        pipeline.load_textual_inversion(file, word or None)
    given = {name: value for name, value in options.items() if value is not None}
    if output.suffix == SUFFIX:
        given["output_type"] = "latent"
    result = run_with_progress(pipeline, pipeline.request(list(prompts), **given))
    paths = save_pictures(result, output)
    if as_json:
        click.echo(json.dumps(summary(result, paths), indent=2, ensure_ascii=False))
        return
    for path in paths:
        click.echo(path)
    timings = result.timings
    click.echo(
        f"{len(result.seeds)} picture(s), seed {result.seeds[0]}, {timings.total_ms / 1e3:.2f} s "
        f"(UNet {timings.unet_ms / 1e3:.2f}, VAE {timings.vae_decoder_ms / 1e3:.2f}, "
        f"text {timings.text_encoder_ms / 1e3:.2f}, all else {timings.overhead_ms / 1e3:.3f})",
        err=True,
    )
