"""Accuracy against latency: what is lost by going faster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdopt.bench.quality_record import QualityRecord, QualityRow
from sdopt.bench.report.style import COLOURS, INK, dress, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def quality_plot(record: QualityRecord) -> Figure:
    """Draw each engine's accuracy, and its distance from the exact pictures, over its latency."""
    figure = new_figure(11, 5.2, f"Accuracy against latency: {record.prompts}")
    accuracy, distance = figure.subplots(1, 2)
    names = list(dict.fromkeys(row.name for row in record.rows))
    for colour, name in zip(COLOURS, names, strict=False):
        rows = sorted(
            (row for row in record.rows if row.name == name), key=lambda r: r.num_inference_steps
        )
        _draw_accuracy(accuracy, rows, colour)
        _draw_distance(distance, rows, colour)
    dress(
        accuracy,
        "Seconds per picture, median (at the points: steps)",
        "Pictures that show what was asked for, %",
    )
    accuracy.set_ylim(-4, 105)
    accuracy.set_xlim(left=0)
    dress(
        distance,
        "Seconds per picture, median (at the points: steps)",
        f"PSNR against {record.exact}, dB, median",
    )
    distance.set_xlim(left=0)
    figure.legend(
        *accuracy.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        labelcolor=INK,
    )
    return figure


def _draw_accuracy(axes: Axes, rows: list[QualityRow], colour: str) -> None:
    seconds = [row.median_s for row in rows]
    shares = [row.accuracy for row in rows]
    values = [100 * share.value for share in shares]
    reaches = [
        [100 * (share.value - share.low) for share in shares],
        [100 * (share.high - share.value) for share in shares],
    ]
    axes.errorbar(seconds, values, reaches, color=colour, marker="o", capsize=3, label=rows[0].name)
    for row, second, value in zip(rows, seconds, values, strict=True):
        _note(axes, f"{row.num_inference_steps}", (second, value), colour)


def _draw_distance(axes: Axes, rows: list[QualityRow], colour: str) -> None:
    points = [(row.median_s, row.median_psnr_db, row.num_inference_steps) for row in rows]
    shown = [(second, psnr, steps) for second, psnr, steps in points if psnr is not None]
    if shown:
        axes.plot([p[0] for p in shown], [p[1] for p in shown], color=colour, marker="o")
    for second, psnr, steps in shown:
        _note(axes, f"{steps}", (second, psnr), colour)


def _note(axes: Axes, text: str, place: tuple[float, float], colour: str) -> None:
    """Write beside a point in its line's colour, because points of several lines may be close."""
    axes.annotate(text, place, xytext=(5, 5), textcoords="offset points", fontsize=8, color=colour)
