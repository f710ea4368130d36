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

_CLOSE = 1.3
"""Points whose coordinates differ by no larger factor have one label: two would overlap."""


def roofline_plot(subject: str, points: Sequence[Reached]) -> Figure:
    """Draw the machine's limits as a subject can use them, and its components below them."""
    title = f"What is reached of what the machine allows: {subject}"
    figure = new_figure(10, 5.5 + 0.25 * len(points), title)
    axes = figure.subplots()
    left, right = _reach(points)
    roofs: list[MachineRates] = []
    for index, point in enumerate(points):
        machine = point.roofline.machine
        if machine not in roofs:
            roofs.append(machine)
            _draw_roof(axes, machine, left, right)
        _draw_point(axes, index, point)
    for group in close_together(points):
        _write_shares(axes, group)
    axes.set(xscale="log", yscale="log", xlim=(left, right))
    top = 3 * max(machine.product_per_s for machine in roofs)
    axes.set_ylim(min(point.rate for point in points) / 1e9 / 4, top / 1e9)
    dress(axes, "Operations per byte that must be moved", "Billions of operations per second")
    figure.legend(loc="outside lower center", ncols=1, frameon=False, labelcolor=INK, fontsize=9)
    return figure


def _reach(points: Sequence[Reached]) -> tuple[float, float]:
    """Return the least and the largest intensity to show: all points, and where roofs bend."""
    machines = [point.roofline.machine for point in points]
    bends = [machine.product_per_s / machine.copy_bytes_per_s for machine in machines]
    intensities = [point.intensity for point in points]
    return min(*bends, *intensities) / 4, 4 * max(intensities)


def _draw_roof(axes: Axes, machine: MachineRates, left: float, right: float) -> None:
    intensities = np.geomspace(left, right, 200)
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


def close_together(points: Sequence[Reached]) -> list[list[Reached]]:
    """Group points that lie so close that labels of their own would overlap."""
    groups: list[list[Reached]] = []
    for point in sorted(points, key=lambda point: point.rate):
        for group in groups:
            if _are_close(group[-1], point):
                group.append(point)
                break
        else:
            groups.append([point])
    return groups


def _are_close(one: Reached, other: Reached) -> bool:
    pairs = ((one.intensity, other.intensity), (one.rate, other.rate))
    return all(max(pair) <= _CLOSE * min(pair) for pair in pairs)


def _write_shares(axes: Axes, group: Sequence[Reached]) -> None:
    """Write above points that are close together which shares they reach."""
    shares = sorted(point.share for point in group)
    least, most = f"{shares[0]:.0%}", f"{shares[-1]:.0%}"
    axes.annotate(
        least if least == most else f"{least} to {most}",
        (group[-1].intensity, group[-1].rate / 1e9),
        xytext=(0, 8),
        textcoords="offset points",
        ha="center",
        fontsize=9,
        color=INK,
    )
