"""The options of `sdopt generate` that say what a picture shall be, in groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

_Command = Callable[..., Any]


def _number(name: str, metavar: str, text: str) -> _Command:
    return click.option(name, type=float, metavar=metavar, help=text)


def _pair(name: str, metavar: str, text: str) -> _Command:
    return click.option(name, type=(int, int), metavar=metavar, help=text)


def _list(name: str, kind: type[int] | type[float], metavar: str, text: str) -> _Command:
    """Return an option that takes numbers with commas between them."""

    def read(_: click.Context, __: click.Parameter, value: str | None) -> Any:
        try:
            return None if value is None else [kind(part) for part in value.split(",")]
        except ValueError:
            raise click.BadParameter(f"{value!r} is not a list such as 999,500,1.") from None

    return click.option(name, callback=read, metavar=metavar, help=text)


IMAGE = (
    click.option(
        "--image", type=click.Path(), metavar="FILE", help="A picture, or latents, to start from."
    ),
    _number("--strength", "S", "How much of it may change, above 0 and up to 1."),
    click.option(
        "--mask",
        "mask_image",
        type=click.Path(),
        metavar="FILE",
        help="Bright where it is redrawn.",
    ),
    _number("--mask-blur", "PIXELS", "Radius of a blur of the mask."),
    click.option("--mask-invert", is_flag=True, default=None, help="Redraw what is dark instead."),
    click.option(
        "--mask-padding",
        "padding_mask_crop",
        type=int,
        metavar="PIXELS",
        help="Redraw the masked area alone, enlarged, with so many pixels around it.",
    ),
)
"""What a picture starts from."""

SCHEDULE = (
    click.option(
        "--steps",
        "num_inference_steps",
        type=int,
        metavar="N",
        help="Inference steps.  [default: the bundle's]",
    ),
    click.option(
        "--scheduler",
        metavar="NAME",
        help="Such as euler or dpmpp_2m_karras.  [default: the bundle's]",
    ),
    _number("--eta", "ETA", "Share of fresh noise, for schedulers that take it."),
    _list("--timesteps", int, "T,T,…", "Training timesteps to go through, in place of --steps."),
    _list("--sigmas", float, "S,S,…", "Sigmas to go through, falling to 0, in place of --steps."),
    _number("--s-churn", "CHURN", "Noise that euler adds before its steps."),
    _number("--s-tmin", "SIGMA", "Lowest sigma at which it is added."),
    _number("--s-tmax", "SIGMA", "Highest sigma at which it is added."),
    _number("--s-noise", "STD", "Standard deviation of that noise.  [default: 1]"),
    _number("--denoising-start", "SHARE", "Go on with the latents of --image after this share."),
    _number("--denoising-end", "SHARE", "Stop after this share of the schedule."),
)
"""A picture's way from noise."""

SIZES = (
    _pair("--original-size", "HEIGHT WIDTH", "That SDXL takes the picture to have had."),
    _pair("--crops-coords-top-left", "TOP LEFT", "Of the crop that SDXL takes it to be."),
    _pair("--target-size", "HEIGHT WIDTH", "That SDXL takes it to be resized to."),
    _number("--aesthetic-score", "SCORE", "Beauty that SDXL's refiner takes it to have."),
    _pair("--negative-original-size", "HEIGHT WIDTH", "The same for the negative prompt."),
    _pair("--negative-crops-coords-top-left", "TOP LEFT", "Likewise."),
    _pair("--negative-target-size", "HEIGHT WIDTH", "Likewise."),
    _number("--negative-aesthetic-score", "SCORE", "Likewise."),
)
"""What SDXL is told about a picture."""

VARIATION = (
    click.option(
        "--subseed", type=int, metavar="SEED", help="Variation i goes towards SEED + i.  [drawn]"
    ),
    _number("--subseed-strength", "SHARE", "How far: variations of the picture of --seed."),
)
"""Variations of one picture."""

HIRES = (
    _number("--hr-scale", "SCALE", "Enlarge a first picture so much, and draw its details anew."),
    click.option(
        "--hr-upscaler",
        metavar="NAME",
        help="Such as latent_bicubic or lanczos.  [default: latent]",
    ),
    _number("--hr-strength", "S", "How much may change then.  [default: 0.7]"),
    click.option(
        "--hr-second-pass-steps", type=int, metavar="N", help="Then.  [default: as many as first]"
    ),
)
"""Two passes: "hires fix"."""

REFINER = (
    click.option(
        "--refiner",
        type=click.Path(path_type=Path),
        metavar="BUNDLE",
        help="A second model, which ends what the first begins.",
    ),
    _number("--handover", "SHARE", "Of the schedule after which it does.  [default: 0.8]"),
)
"""A second model."""


def taking(*groups: Sequence[_Command]) -> _Command:
    """Return a decorator that adds groups of options to a command, in this order."""

    def add(command: _Command) -> _Command:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return add
