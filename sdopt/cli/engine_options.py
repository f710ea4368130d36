"""The options with which commands choose an engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from sdopt.engines.catalog import AUTO, DEVICES, ENGINES
from sdopt.engines.options import BATCHINGS, Batching, EngineOptions

_Command = Callable[..., None]


def choosing_engine(command: _Command) -> _Command:
    """Add the options, ``--engine`` the first; give ``engine`` and ``engine_options``."""

    @wraps(command)
    def run(*, device: str, precision: str | None, batching: Batching, **others: Any) -> None:
        options = EngineOptions(device=device, precision=precision, batching=batching)
        command(engine_options=options, **others)

    for option in (_BATCHING, _PRECISION, _DEVICE, _ENGINE):
        option(run)
    return run


_ENGINE = click.option(
    "--engine",
    default="onnxruntime",
    show_default=True,
    metavar="NAME",
    help=f"What runs the bundle: {', '.join(ENGINES)}, or {AUTO} for the fastest installed.",
)
_DEVICE = click.option(
    "--device",
    default="cpu",
    show_default=True,
    metavar="NAME",
    help=f"Where: {', '.join(DEVICES)}.",
)
_PRECISION = click.option(
    "--precision",
    metavar="NAME",
    help="What to compute in, such as fp32 or bf16.  [default: the engine's fastest]",
)
_BATCHING = click.option(
    "--batching",
    type=click.Choice(BATCHINGS),
    default="exact",
    show_default=True,
    help="On a GPU: the same picture in any company, or fewer rows to compute.",
)
