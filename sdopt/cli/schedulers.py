"""``sdopt schedulers``: which there are, what they cost, and what they are good for."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sdopt.runtime.schedulers import SchedulerFacts

_COLUMNS = "{:<16} {:<7} {:<6} {:<11} {:<4} {}"
_LEGEND = (
    "Evals: evaluations of the UNet for N steps. Order: of the method once its history is full. "
    "σ: spacings of sigmas, as the end of a name: {spacings}. Every form of a name takes them: "
    "euler_karras, DPM++ 2M Karras."
)


@click.command("schedulers")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def command(as_json: bool) -> None:
    """List the schedulers: names, evaluations for N steps, order, noise, and what each is for."""
    from rich.console import Console
    from rich.padding import Padding

    from sdopt.runtime.schedulers import scheduler_facts

    facts = scheduler_facts()
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(fact) for fact in facts], indent=2))
        return
    console = Console(highlight=False, soft_wrap=False)
    console.print(_COLUMNS.format("Name", "Evals", "Order", "Noise", "σ", "In diffusers"))
    console.rule(characters="─", style="dim")
    for fact in facts:
        console.print(_line(fact))
        console.print(Padding(_about(fact), (0, 0, 0, 2)))
    console.rule(characters="─", style="dim")
    console.print(_legend(facts))


def _line(fact: SchedulerFacts) -> str:
    name, *rest = _COLUMNS.split(" ", 1)
    initials = "".join(spacing[0] for spacing in fact.sigma_spacings)
    cells = rest[0].format(fact.evaluations, fact.order, fact.noise, initials, fact.class_name)
    return f"[bold]{name.format(fact.name)}[/bold] {cells}"


def _about(fact: SchedulerFacts) -> str:
    others = f" Also {' and '.join(fact.other_names)}." if fact.other_names else ""
    return f"[dim]{fact.summary}{others}[/dim]"


def _legend(facts: tuple[SchedulerFacts, ...]) -> str:
    known = dict.fromkeys(spacing for fact in facts for spacing in fact.sigma_spacings)
    return _LEGEND.format(spacings=", ".join(f"{spacing[0]} _{spacing}" for spacing in known))
