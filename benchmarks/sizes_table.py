"""The table of what models of true size took, from the records that ``real_sizes.py`` wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HEADINGS = ("Stable Diffusion", "export", "verify", "picture", "largest process", "on disk")
MODELS = {"sd15": "1.5", "sd21": "2.1", "sdxl": "XL"}
SIDES = {
    "sdopt": ("export", "verify", "generate"),
    "diffusers": (None, None, "diffusers"),
    "Optimum": ("optimum export", None, "optimum"),
}
"""Which stage of a record stands in which column."""


def size_rows(*paths: Path) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headings and rows, one for each side of each record."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    rows = (_row(record, side) for record in records for side in SIDES)
    return HEADINGS, [row for row in rows if row]


def _row(record: Mapping[str, Any], side: str) -> tuple[str, ...]:
    """Return a side's row; an empty one where it was not run."""
    stages = [record["stages"].get(name) for name in SIDES[side]]
    known = [stage for stage in stages if stage is not None]
    if not known:
        return ()
    label = f"{MODELS[record['family']]}, {record['precision']}, {side}"
    largest = max(stage.get("largest_process_gb", 0) for stage in known)
    held = f"{largest:.1f} GB" if largest else ""
    made = record["checkpoint_gb"] if stages[0] is None else stages[0].get("disk_gb")
    return (label, *map(_cell, stages), held, f"{made:.1f} GB" if made else "")


def _cell(stage: Mapping[str, Any] | None) -> str:
    if stage is None:
        return ""
    if "ended_beyond_gb" in stage:
        return f"ended beyond {stage['ended_beyond_gb']:.0f} GB"
    if "ended_after_s" in stage:
        return f"ended after {stage['ended_after_s'] / 60:.0f} min"
    return "failed" if "failed_with" in stage else f"{stage['seconds']:.0f} s"
