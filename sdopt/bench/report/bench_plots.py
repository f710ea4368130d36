"""What records of ``sdopt bench`` look like: stages, distributions, scaling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sdopt.bench.bench_record import CaseSamples
from sdopt.bench.reached import Row
from sdopt.bench.report.style import COLOURS, FAINT, INK, dress, name_rows, new_figure, row_height
from sdopt.bench.statistics import summarise
from sdopt.bench.timeline import STAGES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STAGE_COLOURS = {
    "request": "#c9ced6",
    "tokenizer": "#8b929c",
    "text_encoder": "#3b8f5a",
    "vae_encoder": "#b08a1e",
    "unet_first": "#7fb0e0",
    "unet_rest": "#2f6fb5",
    "scheduler": "#c0417a",
    "vae_decoder": "#d1602b",
    "pixels": "#8a5fb0",
    "png": "#2b9aa0",
}


def stage_bars(rows: Sequence[Row]) -> Figure:
    """Draw where the time of a picture goes: mean seconds of each stage, one bar for each row."""
    figure = new_figure(10, row_height(len(rows)) + 0.5, "Where the time of a picture goes")
    axes = figure.subplots()
    ends = np.zeros(len(rows))
    for stage in STAGES:
        means = np.array([_mean_stage(row, stage) for row in rows])
        if means.any():
            label = stage.replace("_", " ")
            axes.barh(range(len(rows)), means, 0.6, ends, label=label, color=_STAGE_COLOURS[stage])
            ends += means
    for index, end in enumerate(ends):
        axes.text(end, index, f"  {_seconds(end)}", va="center", color=INK, fontsize=9)
    dress(axes, "Seconds per picture, mean")
    axes.set_xlim(0, 1.12 * ends.max())
    name_rows(axes, [row.name for row in rows])
    figure.legend(loc="outside lower center", ncols=6, frameon=False, labelcolor=INK, fontsize=9)
    return figure


def distributions(rows: Sequence[Row]) -> Figure:
    """Draw every sample: the processes above each other, the interval of another run behind."""
    title = "Every request: processes above each other, and where another run will lie"
    figure = new_figure(10, row_height(len(rows)) + 0.3, title)
    axes = figure.subplots()
    for index, row in enumerate(rows):
        _draw_samples(axes, index, row.case)
    dress(axes, "Seconds per request, from the prompt to PNG files in memory")
    name_rows(axes, [row.name for row in rows])
    axes.set_xlim(left=0)
    handles, labels = axes.get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    figure.legend(
        shown.values(), shown, loc="outside lower center", ncols=3, frameon=False, fontsize=9
    )
    return figure


def scaling(rows: Sequence[Row]) -> Figure | None:
    """Draw pictures per second by batch, and seconds by size; None where neither varies."""
    batches = _lines(rows, _batch, lambda row: row.case.images_per_s, _size)
    sizes = _lines(rows, _megapixels, lambda row: 1 / row.case.images_per_s, _batch_text)
    panels = [
        panel
        for panel in (
            _Panel(batches, "Pictures denoised together", "Pictures per second"),
            _Panel(sizes, "Megapixels of a picture", "Seconds per picture"),
        )
        if panel.lines
    ]
    if not panels:
        return None
    figure = new_figure(5.2 * len(panels) + 0.6, 4.6, "Scaling")
    places = figure.subplots(1, len(panels), squeeze=False).flat
    for axes, panel in zip(places, panels, strict=True):
        for colour, (name, points) in zip(COLOURS, panel.lines.items(), strict=False):
            axes.plot(*zip(*points, strict=True), marker="o", color=colour, label=name)
        dress(axes, panel.x_label, panel.y_label)
        points = [point for line in panel.lines.values() for point in line]
        right, top = (1.1 * max(values) for values in zip(*points, strict=True))
        axes.set(xlim=(0, right), ylim=(0, 1.15 * top))
        axes.set_xticks(sorted({x for x, _ in points}))
        axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper left")
    return figure


class _Panel(NamedTuple):
    lines: dict[str, list[tuple[float, float]]]
    x_label: str
    y_label: str


def _draw_samples(axes: Axes, index: int, case: CaseSamples) -> None:
    if (interval := case.interval) is not None:
        width = interval.high - interval.low
        axes.barh(index, width, 0.7, interval.low, color="#dce8f5", label="another run (95 %)")
    offsets = np.linspace(-0.25, 0.25, len(case.walls)) if len(case.walls) > 1 else [0.0]
    for offset, walls in zip(offsets, case.walls, strict=True):
        heights = np.full(len(walls), index + offset)
        axes.plot(walls, heights, "o", markersize=4, alpha=0.7, color=COLOURS[0], label="a request")
    median = summarise([sample.wall_s for sample in case.samples]).p50
    ends = [index - 0.38, index + 0.38]
    axes.plot([median, median], ends, color=COLOURS[1], linewidth=2, label="median of all")
    axes.text(median, index - 0.42, _seconds(median), ha="center", fontsize=8, color=FAINT)


def _mean_stage(row: Row, stage: str) -> float:
    samples = row.case.samples
    total = sum(sample.stages_s.get(stage, 0.0) for sample in samples)
    return total / len(samples) / row.case.case.batch


def _batch(row: Row) -> float:
    return row.case.case.batch


def _batch_text(row: Row) -> str:
    return f"batch {row.case.case.batch}"


def _megapixels(row: Row) -> float:
    return row.case.case.height * row.case.case.width / 1e6


def _size(row: Row) -> str:
    return f"{row.case.case.width}×{row.case.case.height}"


def _lines(
    rows: Sequence[Row],
    x: Callable[[Row], float],
    y: Callable[[Row], float],
    fixed: Callable[[Row], str],
) -> dict[str, list[tuple[float, float]]]:
    """Gather rows that differ in x alone into lines; single points are none.

    Args:
        rows: All of them.
        x: What varies along a line.
        y: What is drawn.
        fixed: What does not vary along a line, beside subject and steps.
    """
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        name = f"{row.subject}, {row.case.case.num_inference_steps} steps, {fixed(row)}"
        lines.setdefault(name, []).append((x(row), y(row)))
    return {
        name: sorted(points)
        for name, points in lines.items()
        if len({value for value, _ in points}) > 1
    }


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value >= 10 else f"{value:.3g} s"
