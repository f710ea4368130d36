"""The option with which commands compile an engine for one size of pictures."""

from __future__ import annotations

import click

from sdopt.engines.size_bucket import SizeBucket


def _bucket(_: click.Context, option: click.Parameter, text: str | None) -> SizeBucket | None:
    return None if text is None else SizeBucket.parse(text, str(option.name))


fixed_size_option = click.option(
    "--fixed-size",
    callback=_bucket,
    metavar="WxH[:N]",
    help="Compile for pictures of this one size, N at a time: OpenVINO is faster so.  "
    "[default: any size]",
)
