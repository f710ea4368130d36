"""Write the README's tables from the records, or say that they differ.

    python benchmarks/readme.py [--check]

A table stands between `<!-- records: NAME -->` and `<!-- end -->`; a test runs the check.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sdopt.bench.compare_record import CompareRecord
from sdopt.bench.compare_text import compare_rows
from sdopt.bench.quality_record import QualityRecord
from sdopt.bench.record import read_record

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RECORDS = ROOT / "benchmarks" / "records"
BLOCK = re.compile(r"(<!-- records: (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Write, or check."""
    text = README.read_text(encoding="utf-8")
    fresh = written(text)
    if "--check" in sys.argv:
        sys.exit("README.md differs: run benchmarks/readme.py" if fresh != text else 0)
    README.write_text(fresh, encoding="utf-8")


def written(text: str) -> str:
    """Return a text with every table as its record says."""
    return BLOCK.sub(lambda found: found[1] + "\n".join(block(found[2])) + "\n" + found[4], text)


def block(name: str) -> list[str]:
    """Return the lines of a table, which is named after its record."""
    path = RECORDS / f"{name}.json"
    return MAKERS[name.partition("_")[0]](path)


def export(path: Path) -> list[str]:
    """Lay out an export beside Optimum's."""
    record = json.loads(path.read_text(encoding="utf-8"))
    ratio = record["ratios"]["sdopt / optimum"]
    seconds = {side: _median(runs, "seconds") for side, runs in record["runs"].items()}
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


def compare(path: Path) -> list[str]:
    """Lay out sdopt beside its peers."""
    record = read_record(CompareRecord, path)
    rows = [
        (name, seconds, _times(times, low, high), psnr, f"{gigabytes} GB")
        for name, seconds, times, low, high, psnr, _, gigabytes in compare_rows(record)
    ]
    case = record.case
    work = f"{case.width}×{case.height}, {case.num_inference_steps} steps, batch {case.batch}"
    headings = (work, "s/picture", f"× {record.reference}", "PSNR, dB", "peak memory")
    return markdown(headings, rows)


def quality(path: Path) -> list[str]:
    """Lay out how many pictures are right, and how long each took."""
    record = read_record(QualityRecord, path)
    steps = sorted({row.num_inference_steps for row in record.rows})
    names = list(dict.fromkeys(row.name for row in record.rows))
    cells = {
        (row.name, row.num_inference_steps): f"{row.accuracy.value:.0%}, {row.median_s:.2g} s"
        for row in record.rows
    }
    rows = [(name, *(cells[name, count] for count in steps)) for name in names]
    return markdown((record.prompts, *(f"{count} steps" for count in steps)), rows)


MAKERS: dict[str, Callable[[Path], list[str]]] = {
    "export": export,
    "image": image,
    "compare": compare,
    "quality": quality,
}


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    lines = [f"| {' | '.join(cells)} |" for cells in (headings, *rows)]
    return [lines[0], "|" + "---|" * len(headings), *lines[1:]]


def _times(times: str, low: str, high: str) -> str:
    return f"{times} ({low} to {high})" if low not in ("", "-") else times


def _median(runs: list[dict[str, Any]], name: str) -> float:
    values = sorted(run[name] for run in runs)
    return float((values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2)


if __name__ == "__main__":
    main()
