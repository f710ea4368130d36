"""How every plot looks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sdopt.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GRID, FAINT = "#30343b", "#e3e6ea", "#8b929c"
COLOURS = ("#2f6fb5", "#d1602b", "#3b8f5a", "#8a5fb0", "#b08a1e", "#c0417a", "#2b9aa0", "#6b7280")
_DPI = 130


def new_figure(width: float, height: float, title: str) -> Figure:
    """Make a figure, sized in inches.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "bench") from error
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure.suptitle(title, color=INK, fontsize=13, fontweight="bold", x=0.01, ha="left")
    return figure


def dress(axes: Axes, x_label: str, y_label: str = "") -> None:
    """Label the axes, and take away what distracts."""
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Give each row its name, the first at the top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def row_height(rows: int) -> float:
    """Return the height in inches that fits so many rows of a figure."""
    return 1.7 + 0.62 * rows


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()
