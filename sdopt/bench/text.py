"""Measurements as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sdopt.bench.bench_record import BenchRecord, CaseSamples
from sdopt.bench.reached import reached, rows_of
from sdopt.bench.roofline.profile import Node
from sdopt.bench.statistics import Interval, Summary, summarise
from sdopt.bench.timeline import STAGES

NODE_HEADINGS = ("most expensive nodes, profiled", "kind", "ms", "share", "10⁹ operations/s")
_HEADINGS = ("stage", "p50", "p90", "p99", "mean", "spread", "samples", "share")


def bench_text(record: BenchRecord) -> str:
    """Lay a record out as tables, in milliseconds."""
    return "\n".join(_lines(record))


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay cells out in columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def interval_text(interval: Interval | None) -> str:
    """Say how far another run may be off."""
    if interval is None:
        return "one run says nothing about another"
    units = {"process": "processes", "run": "runs"}[interval.unit]
    return (
        f"± {interval.relative:.1%}: another measurement lies between {interval.low * 1e3:.1f} and "
        f"{interval.high * 1e3:.1f} ms ({interval.confidence:.0%}, from {interval.units} {units})"
    )


def milliseconds(seconds: float | None) -> str:
    """Show a duration in milliseconds with four digits; a dash where there are too few samples."""
    if seconds is None:
        return "-"
    value = seconds * 1e3
    return f"{value:.{max(0, 3 - len(str(int(value))))}f}" if value >= 1 else f"{value:.3f}"


def _lines(record: BenchRecord) -> Iterator[str]:
    processor = record.environment.processor
    yield f"{record.subject}, {processor.name} with {processor.cores} cores, milliseconds"
    for case in record.cases:
        yield ""
        yield from _case_lines(case)
    yield from _roofline_lines(record)
    yield ""
    yield "Cold start, medians in milliseconds:"
    names = ("interpreter_s", "import_s", "load_s", "first_picture_s", "total_s")
    for name in names:
        median = summarise([getattr(start, name) for start in record.starts]).p50
        first = getattr(record.first_start, name)
        label = name.removesuffix("_s").replace("_", " ")
        yield f"  {label:<14}{milliseconds(median):>9}   (the very first {milliseconds(first)})"
    yield ""
    host = max(memory.host_bytes for memory in record.memory)
    held = [m.device_bytes for m in record.memory if m.device_bytes is not None]
    on_device = f", {max(held) / 1e9:.2f} GB on the device" if held else ""
    yield f"Peak memory: {host / 1e9:.2f} GB resident{on_device}."
    yield "A percentile with a dash has too few samples for one to lie beyond it."
    yield "Not in these times: " + "; ".join(record.left_out) + "."


def _case_lines(case: CaseSamples) -> Iterator[str]:
    yield str(case.case)
    wall = summarise([sample.wall_s for sample in case.samples])
    rows: list[tuple[str, ...]] = [_HEADINGS]
    for stage, summary in case.summaries().items():
        share = sum(s.stages_s[stage] for s in case.samples) / (wall.mean * wall.count)
        rows.append(_row(_label(stage), summary, f"{share:.1%}"))
    rows.append(_row("whole request", wall, f"{1 - case.unaccounted:.2%}"))
    yield from (f"  {line}" for line in table(rows))
    yield f"  {interval_text(case.interval)}"
    yield f"  {case.images_per_s:.3f} pictures per second"
    if outliers := wall.outliers:
        yield f"  {outliers} of {wall.count} requests are outliers; they count in every figure"


def _roofline_lines(record: BenchRecord) -> Iterator[str]:
    for point in reached(rows_of([record])):
        limit, machine = point.limit, point.roofline.machine
        yield ""
        yield (
            f"{limit.component}, {point.row.work}: {milliseconds(point.seconds)} ms a call, "
            f"{point.share:.0%} of what the machine allows"
        )
        yield (
            f"  {limit.operations / 1e9:.1f} billion operations at {point.rate / 1e9:.0f} of "
            f"{machine.product_per_s / 1e9:.0f} per second ({machine.precision}), at least "
            f"{limit.least_bytes / 1e6:.0f} MB at {machine.copy_bytes_per_s / 1e9:.0f} GB/s: "
            f"{milliseconds(limit.limit_s)} ms, bound by {limit.bound}"
        )
        yield from (f"  {line}" for line in table([NODE_HEADINGS, *map(node_row, limit.nodes)]))


def node_row(node: Node) -> tuple[str, ...]:
    """Lay out a node; the rate is left out where the backend's name does not tell its product."""
    rate = "-" if node.operations is None else f"{node.operations / node.seconds / 1e9:.0f}"
    return (node.name, node.kind, milliseconds(node.seconds), f"{node.share:.1%}", rate)


def _label(stage: str) -> str:
    assert stage in STAGES
    each = {"unet_first": "unet, first call", "unet_rest": "unet, each other call"}
    return each.get(stage, stage.replace("_", " "))


def _row(label: str, summary: Summary, share: str) -> tuple[str, ...]:
    values = (summary.p50, summary.p90, summary.p99, summary.mean, summary.spread)
    return (label, *map(milliseconds, values), str(summary.count), share)
