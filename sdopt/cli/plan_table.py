"""A plan in print: two tables of coefficients that fit 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sdopt.runtime.schedulers import Plan

if TYPE_CHECKING:
    from rich.table import Table


def print_plan(plan: Plan) -> None:
    """Print what happens at every stage; columns that are zero throughout are left out."""
    from rich.console import Console

    console = Console(highlight=False)
    constant, varying = _history(plan)
    console.print(_headline(plan))
    console.print()
    console.print(_main_table(plan))
    console.print()
    if varying:
        console.print(_history_table(plan, varying))
        console.print()
    for line in constant:
        console.print(line)
    console.print(_legend(plan), style="dim")


def _headline(plan: Plan) -> str:
    draws = f"fresh noise at {plan.noise_draws} of them" if plan.noise_draws else "no fresh noise"
    arrays = f"{plan.state_rows} arrays of latents; the first" if plan.state_rows > 1 else "latents"
    verb = "starts" if plan.state_rows > 1 else "alone, which start"
    return (
        f"[bold]{plan.name}[/bold]: {plan.stages} evaluations, {draws}.\n"
        f"Keeps {arrays} {verb} as {_start(plan)}."
    )


def _start(plan: Plan) -> str:
    """Say what the first latents are made of."""
    named = zip(plan.start, ("image", "noise"), strict=True)
    return " + ".join(f"{factor:.6g} × {name}" for factor, name in named if factor)


def _legend(plan: Plan) -> str:
    terms = ["x: latents", "out: the UNet's output after guidance"]
    if plan.state_rows > 1:
        terms.append("h1 and so on: the solver's history")
    if plan.noisy.any():
        terms.append("noise: fresh noise")
    terms.append("x←out: what out is multiplied by on its way into the next x")
    if (plan.inputs[:, 0] != 1).any():
        terms.append("in←x: the same for the UNet's input")
    return ". ".join(terms) + "."


def _main_table(plan: Plan) -> Table:
    terms = _names(plan)
    used = [column for column in range(len(terms)) if plan.updates[:, 0, column].any()]
    scaled = bool((plan.inputs[:, 0] != 1).any())
    table = _table(
        "Stage", "t", "σ", "SNR dB", *["in←x"] * scaled, *(f"x←{terms[c]}" for c in used)
    )
    for stage in range(plan.stages):
        table.add_row(
            str(stage),
            _timestep(plan.timesteps[stage]),
            _number(plan.sigmas[stage]),
            _decibels(plan.snr_db[stage]),
            *[_number(plan.inputs[stage, 0])] * scaled,
            *(_number(plan.updates[stage, 0, column]) for column in used),
        )
    table.add_row("end", "", _number(plan.sigmas[-1]), _decibels(plan.snr_db[-1]))
    return table


def _history(plan: Plan) -> tuple[list[str], list[tuple[int, int]]]:
    """Return the history's rules that hold at every stage, and the coefficients that change."""
    terms = _names(plan)
    constant: list[str] = []
    varying: list[tuple[int, int]] = []
    for row in range(1, plan.state_rows):
        rule = plan.updates[:, row]
        if (rule == rule[0]).all():
            constant.append(f"h{row} ← {_sum(rule[0], terms)} at every stage")
        else:
            varying.extend((row, column) for column in np.flatnonzero(rule.any(axis=0)).tolist())
    return constant, varying


def _history_table(plan: Plan, columns: Sequence[tuple[int, int]]) -> Table:
    terms = _names(plan)
    table = _table("Stage", *(f"{terms[row]}←{terms[column]}" for row, column in columns))
    for stage in range(plan.stages):
        numbers = (_number(plan.updates[stage, row, column]) for row, column in columns)
        table.add_row(str(stage), *numbers)
    return table


def _names(plan: Plan) -> list[str]:
    """Name what updates multiply: the state, the model's output, fresh noise."""
    return ["x", *(f"h{row}" for row in range(1, plan.state_rows)), "out", "noise"]


def _table(*headers: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=0, collapse_padding=True
    )
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    return table


def _sum(coefficients: Sequence[float], terms: Sequence[str]) -> str:
    parts = [
        term if c == 1 else f"{c:.4g} {term}"
        for c, term in zip(coefficients, terms, strict=True)
        if c
    ]
    return " + ".join(parts) or "0"


def _timestep(timestep: float) -> str:
    return f"{timestep:.0f}" if float(timestep).is_integer() else f"{timestep:.2f}"


def _decibels(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else _infinite(value)


def _number(value: float) -> str:
    if not np.isfinite(value):
        return _infinite(value)
    if value in (0, 1):
        return f"[dim]{value:.0f}[/dim]"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 else f"{value:.1e}"


def _infinite(value: float) -> str:
    return "∞" if value > 0 else "-∞"
