"""Write the tables of the documents from the records, or say that they differ.

    python -m benchmarks.readme [--check]

A table stands between `<!-- records: NAME -->` and `<!-- end -->`, where NAME may be several with
plus signs between, whose rows become one table; a test runs the check.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from benchmarks.repeatability import RepeatabilityRecord
from benchmarks.serve_table import serve_rows
from benchmarks.sizes_table import size_rows
from sdopt.bench.bench_record import BenchRecord
from sdopt.bench.compare_record import CompareRecord
from sdopt.bench.compare_text import compare_rows
from sdopt.bench.quality_record import QualityRecord, QualityRow
from sdopt.bench.record import read_record

ROOT = Path(__file__).parents[1]
PAGES = (
    ROOT / "README.md",
    *(ROOT / "docs" / name for name in ("benchmarks.md", "families.md", "serving.md")),
)
RECORDS = ROOT / "benchmarks" / "records"
BLOCK = re.compile(r"(<!-- records: (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Write, or check."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fresh = written(text)
        if "--check" not in sys.argv:
            page.write_text(fresh, encoding="utf-8")
        elif fresh != text:
            sys.exit(f"{page.name} differs: run python -m benchmarks.readme")


def written(text: str) -> str:
    """Return a text with every table as its record says."""
    return BLOCK.sub(lambda found: found[1] + "\n".join(block(found[2])) + "\n" + found[4], text)


def block(name: str) -> list[str]:
    """Return the lines of a table, which is named after its record or records."""
    paths = [RECORDS / f"{each}.json" for each in name.split("+")]
    return MAKERS[name.partition("_")[0]](*paths)


def export(path: Path) -> list[str]:
    """Lay out an export beside Optimum's."""
    record = json.loads(path.read_text(encoding="utf-8"))
    ratio = record["ratios"]["sdopt / optimum"]
    seconds = {side: median(r["seconds"] for r in runs) for side, runs in record["runs"].items()}
    memory = record["largest_process_gb"]
    return markdown(
        ("export of the whole checkpoint, checks included", "time", "largest process"),
        [
            ("sdopt", f"{seconds['sdopt']:.0f} s (**{ratio:.2f}**)", f"{memory['sdopt']:.1f} GB"),
            ("Optimum", f"{seconds['optimum']:.0f} s (1)", f"{memory['optimum']:.1f} GB"),
        ],
    )


def image(path: Path) -> list[str]:
    """Lay out pictures made in turn."""
    record = json.loads(path.read_text(encoding="utf-8"))
    rows = []
    for name, side in record["sides"].items():
        ratios = [
            f"**{ratio:.2f}** of {key.partition(' / ')[2]}"
            for key, ratio in record["ratios"].items()
            if key.partition(" / ")[0] == name
        ]
        middle = side["median"]
        times = f"{middle['image_s']:.1f} s" + (f" ({', '.join(ratios)})" if ratios else "")
        rows.append((name, times, f"{middle['peak_rss_gb']:.1f} GB", f"{side['import_s']:.2g} s"))
    return markdown((record["what"], "time", "peak memory", "import"), rows)


def compare(*paths: Path) -> list[str]:
    """Lay out sdopt beside its peers; a side of several records is shown from the first."""
    record, *others = (read_record(CompareRecord, path) for path in paths)
    for other in others:
        same = ("case", "reference", "pictures_against", "checkpoint")
        assert all(getattr(other, name) == getattr(record, name) for name in same)
    found = {row[0]: row for each in (*others[::-1], record) for row in compare_rows(each)}
    order = dict.fromkeys(side.name for each in (record, *others) for side in each.sides)
    rows = [
        (name, seconds, _times(times, low, high), psnr, f"{gigabytes} GB")
        for name, seconds, times, low, high, psnr, _, gigabytes in map(found.__getitem__, order)
    ]
    case = record.case
    work = f"{case.width}×{case.height}, {case.num_inference_steps} steps, batch {case.batch}"
    headings = (work, "s/picture", f"× {record.reference}", "PSNR, dB", "peak memory")
    return markdown(headings, rows)


def quality(path: Path) -> list[str]:
    """Lay out how many pictures are right, how far they are from the exact, and their time."""
    record = read_record(QualityRecord, path)
    steps = sorted({row.num_inference_steps for row in record.rows})
    names = list(dict.fromkeys(row.name for row in record.rows))
    cells = {(row.name, row.num_inference_steps): ", ".join(_quality(row)) for row in record.rows}
    rows = [(name, *(cells[name, count] for count in steps)) for name in names]
    return markdown((record.prompts, *(f"{count} steps" for count in steps)), rows)


def bench(*paths: Path) -> list[str]:
    """Lay out how far the stages account for the wall time, case by case."""
    rows = []
    for path in paths:
        record = read_record(BenchRecord, path)
        for case in record.cases:
            off = max(abs(1 - sum(s.stages_s.values()) / s.wall_s) for s in case.samples)
            work = f"{case.case.width}×{case.case.height}, {case.case.num_inference_steps} steps"
            rows.append(
                (
                    f"{record.subject}, {work}, batch {case.case.batch}",
                    f"{len(case.samples)} in {len(case.processes)} processes",
                    f"{100 * case.unaccounted:.3f} %",
                    f"{100 * off:.3f} %",
                )
            )
    return markdown(("what", "requests", "in no stage, median", "at most"), rows)


def _quality(row: QualityRow) -> list[str]:
    distance = [] if row.median_psnr_db is None else [f"{row.median_psnr_db:.0f} dB"]
    return [f"{100 * row.accuracy.value:.0f} %", *distance, f"{row.median_s:.2g} s"]


def repeat(*paths: Path) -> list[str]:
    """Lay out how often a measurement lay where another one said."""
    headings = ("the same again and again", "in turn", "one after the other")
    return markdown(headings, [_repeated(read_record(RepeatabilityRecord, p)) for p in paths])


def _repeated(record: RepeatabilityRecord) -> tuple[str, ...]:
    figures, case, amount = record.figures(), record.case, record.amount
    work = f"{record.subject}, {case.width}×{case.height}, {case.num_inference_steps} steps"
    return (
        f"{work}; processes: {amount.processes}, runs in each: {amount.runs}",
        f"{figures['within_the_interval_of_the_other']} of {figures['pairs_in_turn']}, "
        f"± {100 * median(figures['relative_half_widths_in_turn']):.0f} %",
        f"{figures['within_the_interval_before']} of {figures['pairs']}, "
        f"± {100 * median(figures['relative_half_widths']):.0f} %",
    )


MAKERS: dict[str, Callable[..., list[str]]] = {
    "bench": bench,
    "export": export,
    "image": image,
    "compare": compare,
    "quality": quality,
    "serve": lambda path: markdown(*serve_rows(path)),
    "repeatability": repeat,
    "sizes": lambda *paths: markdown(*size_rows(*paths)),
}


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    lines = [f"| {' | '.join(cells)} |" for cells in (headings, *rows)]
    return [lines[0], "|" + "---|" * len(headings), *lines[1:]]


def _times(times: str, low: str, high: str) -> str:
    return f"{times} ({low} to {high})" if low not in ("", "-") else times


if __name__ == "__main__":
    main()
