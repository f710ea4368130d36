"""``sdopt plan``: the table that a scheduler is compiled to, in print and as a plot."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdopt.runtime.schedulers import Plan


@click.command("plan")
@click.argument("name", required=False)
@click.option("--steps", default=20, show_default=True, metavar="N", help="Inference steps.")
@click.option(
    "--eta",
    type=float,
    default=0.0,
    metavar="ETA",
    help="Share of fresh noise, for schedulers that take it.",
)
@click.option(
    "--strength",
    type=float,
    default=1.0,
    metavar="SHARE",
    help="Share of the steps that an image to image run goes through.",
)
@click.option(
    "--denoising-start",
    type=float,
    metavar="SHARE",
    help="Where a refiner takes over, such as 0.8.",
)
@click.option(
    "--denoising-end", type=float, metavar="SHARE", help="Where the base model hands over."
)
@click.option(
    "--s-churn", type=float, metavar="CHURN", help="Noise that euler adds before its steps."
)
@click.option("--bundle", help="Whose configuration to use.  [default: Stable Diffusion 1.x's own]")
@click.option("--json", "as_json", is_flag=True, help="Print the whole plan as JSON.")
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Plot it to a .png, .svg or .pdf file. Needs matplotlib.",
)
def command(
    *,
    name: str | None,
    steps: int,
    eta: float,
    strength: float,
    denoising_start: float | None,
    denoising_end: float | None,
    s_churn: float | None,
    bundle: str | None,
    as_json: bool,
    plot: Path | None,
) -> None:
    """Print what scheduler NAME does at every evaluation of the UNet.

    Without NAME it is the scheduler of the configuration. `sdopt schedulers` lists the names.
    """
    from sdopt.runtime.schedulers import Churn, compile_plan

    plan = compile_plan(
        _config(bundle),
        steps,
        scheduler=name,
        eta=eta,
        strength=strength,
        denoising_start=denoising_start,
        denoising_end=denoising_end,
        churn=None if s_churn is None else Churn(s_churn=s_churn),
    )
    if plot is not None:
        from sdopt.cli.plan_plot import save_plot

        save_plot(plan, plot)
    if as_json:
        click.echo(json.dumps(_as_json(plan), indent=2, allow_nan=False))
    else:
        from sdopt.cli.plan_table import print_plan

        print_plan(plan)
    if plot is not None:
        click.echo(f"The plot is {plot.resolve()}", err=as_json)


def _config(bundle: str | None) -> Mapping[str, object]:
    if bundle is None:
        from sdopt.runtime.schedulers import SD1_CONFIG

        return SD1_CONFIG
    from sdopt.bundle.bundle import Bundle

    return Bundle.open(bundle).manifest.scheduler


def _as_json(plan: Plan) -> dict[str, object]:
    """Return a plan as JSON data, null where a number is infinite."""
    fields = (field.name for field in dataclasses.fields(plan)[1:])
    arrays = {name: getattr(plan, name) for name in (*fields, "snr_db")}
    return {
        "name": plan.name,
        "stages": plan.stages,
        "state_rows": plan.state_rows,
        **{name: _finite(array.tolist()) for name, array in arrays.items()},
    }


def _finite(value: object) -> object:
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
