"""``sdopt encode``: a picture in, its latents out."""

from __future__ import annotations

from pathlib import Path

import click

from sdopt.cli.engine_options import choosing_engine
from sdopt.cli.vae_options import tiling_option
from sdopt.engines.options import EngineOptions, VaeTiling


@click.command("encode")
@click.argument("bundle")
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("latents", type=click.Path(path_type=Path))
@click.option("--width", type=int, metavar="PIXELS", help="To resize it to, with --height.")
@click.option("--height", type=int, metavar="PIXELS", help="To resize it to, with --width.")
@click.option("--seed", type=int, help="Draw from the encoder's distribution.  [default: its mean]")
@tiling_option
@choosing_engine
def command(
    *,
    bundle: str,
    image: Path,
    latents: Path,
    width: int | None,
    height: int | None,
    seed: int | None,
    vae_tiling: VaeTiling,
    engine: str,
    engine_options: EngineOptions,
) -> None:
    """Encode IMAGE with BUNDLE's autoencoder into LATENTS, a safetensors file.

    `sdopt decode` and the option --image of `sdopt generate` read it.
    """
    from sdopt.runtime.latent_file import save_latents
    from sdopt.vae import load_vae

    vae = load_vae(
        bundle,
        engine=engine,
        device=engine_options.device,
        precision=engine_options.precision,
        vae_tiling=vae_tiling,
    )
    made = vae.encode(image, height=height, width=width, seed=seed)
    latents.parent.mkdir(parents=True, exist_ok=True)
    save_latents(made[None], latents, {"image": image.name, "seed": seed})
    channels, rows, columns = made.shape
    click.echo(
        f"{latents}: {channels} x {rows} x {columns}, mean {made.mean():.3f}, std {made.std():.3f}"
    )
