"""Writing a report: one page, and its plots as files of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sdopt.bench.kinds import Found
from sdopt.bench.report.page import page
from sdopt.bench.report.sections import sections
from sdopt.bench.versions import Comparison

TITLE = "sdopt: measurements"


def write_report(
    found: Sequence[Found], folder: Path, compared: Sequence[Comparison] = ()
) -> list[Path]:
    """Write ``report.html`` and a PNG file for each plot.

    Args:
        found: Records.
        folder: Is made where it is missing.
        compared: With another version.

    Returns:
        The files, the page first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = sections(found, compared)
    paths = [folder / "report.html"]
    paths[0].write_text(page(TITLE, parts), encoding="utf-8")
    for section in parts:
        for name, file in section.plots.items():
            paths.append(folder / f"{name}.png")
            paths[-1].write_bytes(file)
    return paths
