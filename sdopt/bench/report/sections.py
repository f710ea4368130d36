"""What a page says of each kind of record."""

from __future__ import annotations

from collections.abc import Sequence

from sdopt.bench.bench_record import BenchRecord, Subject
from sdopt.bench.compare_record import CompareRecord
from sdopt.bench.kinds import Found
from sdopt.bench.quality_record import QualityRecord
from sdopt.bench.reached import Reached, Row, reached, rows_of
from sdopt.bench.report.bench_plots import distributions, scaling, stage_bars
from sdopt.bench.report.other_sections import compare_section, quality_section
from sdopt.bench.report.page import Section, Table, environment_rows
from sdopt.bench.report.roofline_plot import roofline_plot
from sdopt.bench.report.style import png
from sdopt.bench.statistics import summarise
from sdopt.bench.text import NODE_HEADINGS, milliseconds, node_row
from sdopt.bench.timeline import STAGES
from sdopt.bench.versions import Comparison

_LIMIT_NOTE = (
    "A limit is the longer of two times: the operations of all convolutions and matrix products "
    "at the rate of large matrix products or 5×5 convolutions, whichever is faster; and weights, "
    "inputs and outputs, each moved once, at the rate of a copy in memory. A 3×3 convolution "
    "counts with 4 products for 9, as Winograd's algorithm has them, and behind an upsampling with "
    "1 for 4. Nodes are timed by the backend's own profiler, which slows them down."
)
_PERCENTILES = ("p50", "p90", "p99", "mean", "spread", "most", "samples", "outliers")


def sections(found: Sequence[Found], compared: Sequence[Comparison] = ()) -> list[Section]:
    """Return the parts of the page of these records.

    Args:
        found: One or more.
        compared: With another version; empty for none.
    """
    bench = [each.record for each in found if isinstance(each.record, BenchRecord)]
    parts = [_versions(compared)] if compared else []
    if bench:
        parts += [_overview(bench), *_rooflines(bench), *_stages(bench), _starts(bench)]
    for each in found:
        if isinstance(each.record, CompareRecord):
            parts.append(compare_section(each.record, each.path.stem))
        if isinstance(each.record, QualityRecord):
            parts.append(quality_section(each.record, each.path.stem))
    return [*parts, _environments(found)]


def _versions(compared: Sequence[Comparison]) -> Section:
    rows = [(c.subject, c.case, c.verdict, *_change(c), ", ".join(c.doubts)) for c in compared]
    headings = ("what", "case", "verdict", "change", "from", "to", "doubts")
    note = (
        "A verdict looks at the whole interval: slower is what is beyond the threshold for "
        "certain, and undecided is what more runs would tell."
    )
    return Section(
        title="Against the other version",
        plots={},
        tables=[Table(headings=headings, rows=rows, words=2)],
        notes=[note],
    )


def _change(compared: Comparison) -> tuple[str, str, str]:
    if compared.ratio is None:
        return "-", "-", "-"
    found = compared.ratio
    return tuple(f"{x - 1:+.1%}" for x in (found.estimate, found.low, found.high))  # type: ignore[return-value]


def _overview(records: Sequence[BenchRecord]) -> Section:
    rows = rows_of(records)
    plots = {"stages": png(stage_bars(rows)), "distributions": png(distributions(rows))}
    if (figure := scaling(rows)) is not None:
        plots["scaling"] = png(figure)
    headings = ("what", "case", "median s", "another run ±", "pictures/s", "peak GB", "requests")
    cells = [(row.subject, row.work, *_overview_cells(row)) for row in rows]
    return Section(
        title="Pictures, from prompt to PNG",
        plots=plots,
        tables=[Table(headings=headings, rows=cells, words=2)],
    )


def _overview_cells(row: Row) -> tuple[str, ...]:
    walls = [sample.wall_s for sample in row.case.samples]
    interval = row.case.interval
    return (
        f"{summarise(walls).p50:.4g}",
        "one run" if interval is None else f"{interval.relative:.1%}",
        f"{row.case.images_per_s:.3g}",
        f"{max(memory.host_bytes for memory in row.record.memory) / 1e9:.2f}",
        f"{len(walls)} in {len(row.case.processes)} processes",
    )


def _rooflines(records: Sequence[BenchRecord]) -> list[Section]:
    points = reached(rows_of(records))
    if not points:
        return []
    headings = ("component", "case", "ms a call", "limit ms", "of the limit", "bound by")
    rows = [
        (
            f"{point.limit.component}, {point.row.subject}",
            point.row.work,
            milliseconds(point.seconds),
            milliseconds(point.limit.limit_s),
            f"{point.share:.0%}",
            point.limit.bound,
        )
        for point in points
    ]
    nodes = [
        Table(
            headings=(f"{p.limit.component}, {p.row.subject}, {p.row.work}", *NODE_HEADINGS[1:]),
            rows=[node_row(node) for node in p.limit.nodes],
            words=2,
        )
        for p in points
    ]
    return [
        Section(
            title="What the machine allows",
            plots=_roofline_plots(points),
            tables=[Table(headings=headings, rows=rows, words=2), *nodes],
            notes=[_LIMIT_NOTE],
        )
    ]


def _roofline_plots(points: Sequence[Reached]) -> dict[str, bytes]:
    """Draw one plot for each subject: the limits are those of its engine and precision."""
    subjects = dict.fromkeys(point.row.subject for point in points)
    plots = {}
    for number, subject in enumerate(subjects, start=1):
        name = "roofline" if len(subjects) == 1 else f"roofline-{number}"
        figure = roofline_plot(subject, [p for p in points if p.row.subject == subject])
        plots[name] = png(figure)
    return plots


def _stages(records: Sequence[BenchRecord]) -> list[Section]:
    headings = ("stage, ms", *_PERCENTILES)
    parts = []
    for row in rows_of(records):
        summaries = row.case.summaries()
        rows = [(stage.replace("_", " "), *_cells(summaries[stage])) for stage in summaries]
        whole = summarise([sample.wall_s for sample in row.case.samples])
        rows.append(("whole request", *_cells(whole)))
        note = (
            f"In no stage: {row.case.unaccounted:.2%} of a request. UNet figures are of "
            "single calls. A percentile with a dash has too few samples for one to lie beyond it."
        )
        title = f"{row.subject}: {row.work}"
        parts.append(
            Section(
                title=title, plots={}, tables=[Table(headings=headings, rows=rows)], notes=[note]
            )
        )
    return parts


def _cells(summary: object) -> tuple[str, ...]:
    times = [milliseconds(getattr(summary, name)) for name in _PERCENTILES[:6]]
    return (*times, str(summary.count), str(summary.outliers))  # type: ignore[attr-defined]


def _starts(records: Sequence[BenchRecord]) -> Section:
    names = ("interpreter_s", "import_s", "load_s", "first_picture_s", "total_s")
    rows = [
        (
            str(record.subject),
            *(f"{summarise([getattr(s, name) for s in record.starts]).p50:.3g}" for name in names),
            f"{record.first_start.total_s:.3g}",
        )
        for record in records
    ]
    labels = [name.removesuffix("_s").replace("_", " ") for name in names]
    headings = ("from process start, s", *labels, "the very first")
    return Section(title="Cold start", plots={}, tables=[Table(headings=headings, rows=rows)])


def _environments(found: Sequence[Found]) -> Section:
    tables, notes = [], []
    for each in found:
        record = each.record
        rows = [
            ("record", each.path.name),
            ("made at", getattr(record, "made_at", "")),
            ("command", " ".join(getattr(record, "command", ()))),
            *environment_rows(record.environment),  # type: ignore[attr-defined]
        ]
        if isinstance(record, BenchRecord):
            rows += _subject_rows(record.subject)
            notes = [f"Not in these times: {'; '.join(record.left_out)}."]
        tables.append(Table(headings=("", ""), rows=rows, words=2))
    stages = "; ".join(f"{name}: {text}" for name, text in STAGES.items())
    return Section(
        title="How and where it was measured",
        plots={},
        tables=tables,
        notes=[*notes, f"Stages. {stages}."],
    )


def _subject_rows(subject: Subject) -> list[tuple[str, str]]:
    engines = [f"{name} {key}" for name, key in subject.stored_engines.items() if key is not None]
    return [
        ("bundle", subject.bundle_sha256 or "not sealed"),
        ("stored engines", ", ".join(engines) or "none: made anew at each load"),
        ("calls of the UNet timed by", f"the {subject.unet_clock}'s clock"),
    ]
