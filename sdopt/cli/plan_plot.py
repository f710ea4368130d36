"""A plan as four plots: sigmas, timesteps, signal-to-noise ratio, and coefficients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdopt.errors import InvalidValueError, MissingDependencyError
from sdopt.runtime.schedulers import Plan
from sdopt.runtime.schedulers.plan import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
_MARKED_STAGES = 60
_INK, _GRID = "#30343b", "#e3e6ea"
_LATENTS, _OUTPUT, _NOISE = "#2f6fb5", "#d1602b", "#3b8f5a"
_HISTORY = ("#8a5fb0", "#b08a1e", "#c0417a", "#6b7280")


def save_plot(plan: Plan, path: Path) -> None:
    """Plot a plan to a file, and make its folder where it is missing.

    Raises:
        InvalidValueError: The file's name ends in no format that can be written.
        MissingDependencyError: matplotlib is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise InvalidValueError("plot", str(path), f"a file name that ends in {', '.join(FORMATS)}")
    figure = _figure(plan)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _figure(plan: Plan) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "bench") from error
    figure = Figure(figsize=(10, 7), layout="constrained", facecolor="white")
    figure.suptitle(
        f"{plan.name}, {plan.stages} evaluations", color=_INK, fontsize=14, fontweight="bold"
    )
    sigmas, timesteps, ratios, coefficients = figure.subplots(2, 2).flat
    _plot_sigmas(sigmas, plan)
    _plot_line(timesteps, "Timestep that the UNet is told", plan.timesteps)
    _plot_line(ratios, "Signal-to-noise ratio, dB", plan.snr_db)
    _plot_coefficients(coefficients, plan)
    for axes in figure.axes:
        axes.set_xlim(-0.5, plan.stages + 0.5)
    figure.legend(loc="outside lower right", ncols=6, frameon=False, labelcolor=_INK)
    return figure


def _plot_sigmas(axes: Axes, plan: Plan) -> None:
    ends_clean = ", ends at 0" if plan.sigmas[-1] == 0 else ""
    positive = np.where(plan.sigmas > 0, plan.sigmas, np.nan)
    _plot_line(axes, f"Noise level σ{ends_clean}", positive)
    axes.set_yscale("log")


def _plot_coefficients(axes: Axes, plan: Plan) -> None:
    history = {f"history {row}": _HISTORY[row - 1] for row in range(1, plan.state_rows)}
    colours = {"latents": _LATENTS, **history, "model output": _OUTPUT, "fresh noise": _NOISE}
    _dress(axes, "What the next latents are made of")
    axes.axhline(0, color=_INK, linewidth=0.8)
    weights = plan.updates[:, 0]
    for (name, colour), column in zip(colours.items(), weights.T, strict=True):
        if column.any():
            axes.plot(column, color=colour, label=name, linewidth=1.6, **_markers(plan.stages))
    if np.abs(weights).max() > 30 * np.median(np.abs(weights[weights != 0])):
        axes.set_yscale("symlog", linthresh=1)


def _plot_line(axes: Axes, title: str, values: FloatArray) -> None:
    """Plot one value per stage; what is infinite leaves a gap."""
    _dress(axes, title)
    shown = np.where(np.isfinite(values), values, np.nan)
    axes.plot(shown, color=_LATENTS, linewidth=1.6, **_markers(len(values)))


def _dress(axes: Axes, title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, loc="left", fontsize=11, color=_INK)
    axes.set_xlabel("Stage", color=_INK)
    axes.grid(color=_GRID)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _markers(stages: int) -> dict[str, Any]:
    return {"marker": "o", "markersize": 3.5} if stages <= _MARKED_STAGES else {}
