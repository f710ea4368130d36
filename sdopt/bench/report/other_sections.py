"""What a page says of comparisons with peers, and of quality."""

from __future__ import annotations

from sdopt.bench.compare_record import CompareRecord
from sdopt.bench.compare_text import HEADINGS, compare_rows
from sdopt.bench.quality_record import QualityRecord
from sdopt.bench.report.compare_plot import compare_plot
from sdopt.bench.report.page import Section, Table
from sdopt.bench.report.quality_plot import quality_plot
from sdopt.bench.report.style import png

_QUALITY_HEADINGS = ("engine", "steps", "right", "95 %", "PSNR dB", "same", "s/picture", "pictures")


def compare_section(record: CompareRecord, name: str) -> Section:
    """Return the part of the page about a comparison."""
    facts = Table(
        headings=("side", "settings", "source", "versions"),
        rows=[
            (
                side.name,
                ", ".join(f"{key} {value}" for key, value in side.settings.items()),
                side.source,
                ", ".join(f"{package} {version}" for package, version in side.versions.items()),
            )
            for side in record.sides
        ],
        words=4,
    )
    note = (
        "Two sides at a time took turns on the same prompts, noise, size, steps, guidance and "
        f"scheduler. PSNR is of the first picture against that of {record.pictures_against}."
    )
    return Section(
        title=f"Beside peers: {record.bundle}, {record.case}",
        plots={f"compare-{name}": png(compare_plot(record))},
        tables=[Table(headings=HEADINGS, rows=compare_rows(record)), facts],
        notes=[note],
    )


def quality_section(record: QualityRecord, name: str) -> Section:
    """Return the part of the page about quality beside speed."""
    rows = []
    for row in record.rows:
        share, psnr = row.accuracy, row.median_psnr_db
        same = sum(value is None for value in row.psnr_db)
        rows.append(
            (
                row.name,
                str(row.num_inference_steps),
                f"{share.value:.0%}",
                f"{share.low:.0%} to {share.high:.0%}",
                "-" if psnr is None else f"{psnr:.1f}",
                str(same),
                f"{row.median_s:.4g}",
                str(len(row.walls_s)),
            )
        )
    note = (
        f"PSNR is the median over the pictures that differ from those of {record.exact} with as "
        "many steps; the column beside it counts those that are the same in every pixel."
    )
    return Section(
        title=f"Quality beside speed: {record.prompts}",
        plots={f"quality-{name}": png(quality_plot(record))},
        tables=[Table(headings=_QUALITY_HEADINGS, rows=rows)],
        notes=[note],
    )
