"""The option with which commands say how large pictures go through the VAE."""

from __future__ import annotations

from typing import get_args

import click

from sdopt.engines.options import VaeTiling

tiling_option = click.option(
    "--vae-tiling",
    type=click.Choice(get_args(VaeTiling)),
    default="auto",
    show_default=True,
    help="Whether pictures beyond 512 pixels go through the VAE in tiles; auto: where memory is "
    "short.",
)
