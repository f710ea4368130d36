"""A roofline: what each component reaches of what the machine allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sdopt.bench.reached import Reached
from sdopt.bench.report.style import COLOURS, FAINT, INK, dress, new_figure
from sdopt.bench.roofline.machine import MachineRates

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = {"text_encoder": "^", "unet": "o", "vae_decoder": "s"}


def roofline_plot(subject: str, points: Sequence[Reached]) -> Figure:
    """Draw the machine's limits as a subject can use them, and its components below them."""
    title = f"What is reached of what the machine allows: {subject}"
    figure = new_figure(10, 5.5 + 0.25 * len(points), title)
    axes = figure.subplots()
    right = 4 * max(point.intensity for point in points)
    roofs: list[MachineRates] = []
    for index, point in enumerate(points):
        machine = point.roofline.machine
        if machine not in roofs:
            roofs.append(machine)
            _draw_roof(axes, machine, right)
        _draw_point(axes, index, point)
    axes.set(xscale="log", yscale="log", xlim=(1, right))
    top = 3 * max(machine.product_per_s for machine in roofs)
    axes.set_ylim(min(point.rate for point in points) / 1e9 / 4, top / 1e9)
    dress(axes, "Operations per byte that must be moved", "Billions of operations per second")
    figure.legend(loc="outside lower center", ncols=1, frameon=False, labelcolor=INK, fontsize=9)
    return figure


def _draw_roof(axes: Axes, machine: MachineRates, right: float) -> None:
    intensities = np.geomspace(1, right, 200)
    roof = np.minimum(machine.product_per_s, machine.copy_bytes_per_s * intensities) / 1e9
    axes.plot(intensities, roof, color=FAINT, linewidth=1.5)
    label = f"products in {machine.precision}: {machine.product_per_s / 1e9:.0f}"
    axes.annotate(
        label,
        (right, machine.product_per_s / 1e9),
        xytext=(-4, 4),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=INK,
    )


def _draw_point(axes: Axes, index: int, point: Reached) -> None:
    name = f"{point.limit.component}: {point.row.work}"
    label = f"{name} ({point.share:.0%} of the limit)"
    marker = _MARKERS[point.limit.component]
    colour = COLOURS[index % len(COLOURS)]
    axes.plot(point.intensity, point.rate / 1e9, marker, color=colour, markersize=8, label=label)
    axes.annotate(
        f"{point.share:.0%}",
        (point.intensity, point.rate / 1e9),
        xytext=(9, -3),
        textcoords="offset points",
        fontsize=9,
        color=INK,
    )
