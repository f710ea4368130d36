"""``sdopt decode``: latents in, their pictures out."""

from __future__ import annotations

from pathlib import Path

import click

from sdopt.cli.engine_options import choosing_engine
from sdopt.cli.vae_options import tiling_option
from sdopt.engines.options import EngineOptions, VaeTiling


@click.command("decode")
@click.argument("bundle")
@click.argument("latents", type=click.Path(path_type=Path))
@click.argument("picture", type=click.Path(path_type=Path))
@tiling_option
@choosing_engine
def command(
    *,
    bundle: str,
    latents: Path,
    picture: Path,
    vae_tiling: VaeTiling,
    engine: str,
    engine_options: EngineOptions,
) -> None:
    """Decode LATENTS, a safetensors file, with BUNDLE's autoencoder into PICTURE, a PNG file.

    Several pictures get numbered names.
    """
    from sdopt.cli.pictures import numbered
    from sdopt.runtime.images import save_png
    from sdopt.runtime.latent_file import read_latents
    from sdopt.vae import load_vae

    vae = load_vae(
        bundle,
        engine=engine,
        device=engine_options.device,
        precision=engine_options.precision,
        vae_tiling=vae_tiling,
    )
    images = vae.decode(read_latents("latents", latents))
    picture.parent.mkdir(parents=True, exist_ok=True)
    paths = [picture] if len(images) == 1 else numbered(picture, len(images))
    for image, path in zip(images, paths, strict=True):
        save_png(image, path, {"latents": latents.name})
        click.echo(path)
