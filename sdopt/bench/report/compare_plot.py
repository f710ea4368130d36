"""What a comparison looks like: how many times as long each side takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdopt.bench.compare_record import CompareRecord
from sdopt.bench.report.style import COLOURS, INK, dress, name_rows, new_figure, row_height

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def compare_plot(record: CompareRecord) -> Figure:
    """Draw each side's time over the reference's, with its interval."""
    title = f"How many times as long as {record.reference}"
    figure = new_figure(10, row_height(len(record.turns)) + 0.2, title)
    axes = figure.subplots()
    axes.axvline(1, color=INK, linewidth=1)
    highest = 1.0
    for index, turns in enumerate(record.turns):
        ratio = turns.ratio
        middle = turns.median_s / turns.reference_median_s if ratio is None else 1 / ratio.estimate
        colour = COLOURS[0] if middle >= 1 else COLOURS[1]
        if ratio is not None:
            ends = [1 / ratio.high, 1 / ratio.low]
            axes.plot(ends, [index, index], color=colour, linewidth=3, solid_capstyle="butt")
            highest = max(highest, *ends)
        axes.plot(middle, index, "o", color=colour, markersize=7)
        axes.annotate(
            f"{middle:.2f} ×",
            (middle, index),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=INK,
        )
        highest = max(highest, middle)
    axes.set_xlim(0, 1.1 * highest)
    case = record.case
    work = f"{record.bundle}, {case.width}×{case.height}, {case.num_inference_steps} steps"
    dress(axes, f"Time over the reference's, 95 % intervals; {work}, batch {case.batch}")
    name_rows(axes, [turns.name for turns in record.turns])
    return figure
