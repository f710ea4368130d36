"""The table of a server's figures, from the record that ``serve_figures.py`` wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any


def serve_rows(path: Path) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headings and rows."""
    record = json.loads(path.read_text(encoding="utf-8"))
    machine, together = record["machine"], record["overtaking"]
    overhead = record["overhead"]
    rows = [
        (
            "4 steps behind eight requests of 50 steps: time, against one after another",
            _ratio(together["short_request_ratio"]),
            _load(together),
        ),
        (
            "throughput of these nine, against one after another",
            _ratio(together["throughput_ratio"]),
            _load(together),
        ),
        *_by_rows(record["by_rows"]),
        *_overload(record["overload"]),
        (
            "a picture of 2 steps over HTTP, and by a pipeline alone, medians in turn",
            f"{overhead['over_http_ms']['p50']:.0f} ms, {overhead['pipeline_alone_ms']['p50']:.0f} "
            f"ms: {overhead['difference_of_medians_ms']:+.1f} ms",
            _load(overhead),
        ),
        ("SIGTERM under load", _drain(record["drain"]), _load(record["drain"])),
    ]
    where = f"{machine['cpu']}, {machine['cores']} cores; the carried model, 64×64"
    return (where, "", "load average before"), rows


def _by_rows(measured: Mapping[str, Any]) -> list[tuple[str, ...]]:
    seconds, against = measured["seconds_for_8_pictures"], measured["throughput_against_1_row"]
    return [
        (f"eight requests of 20 steps at once, `--max-rows {count}`",
         f"{median(times):.2f} s, throughput {_ratio(against[count])}", _load(measured))
        for count, times in seconds.items()
    ]  # fmt: skip


def _overload(measured: Mapping[str, Any]) -> list[tuple[str, ...]]:
    outcomes, total = measured["outcomes"], measured["total_s"]
    differ = measured["different_from_alone"]
    capacity = measured["capacity_per_s"]
    what = f"{measured['requests']} mixed requests at twice the capacity ({capacity:.0f} a second)"
    return [
        (what,
         f"{outcomes['finished']} finished, {outcomes.get('rejected', 0)} rejected with 429, "
         f"{outcomes.get('cancelled', 0)} left, {outcomes.get('refused', 0)} poisoned and refused, "
         f"{outcomes.get('failed', 0)} failed; {differ} pictures differ from those made alone",
         _load(measured)),
        ("… time of those that finished, p50, p95, p99",
         ", ".join(f"{total[name]:.1f} s" for name in ("p50", "p95", "p99")),
         _load(measured)),
        ("… resident memory after, against before", f"{measured['memory_ratio']:.3f}",
         _load(measured)),
    ]  # fmt: skip


def _drain(measured: Mapping[str, Any]) -> str:
    ends = ", ".join(f"{count} {outcome}" for outcome, count in measured["in_flight"].items())
    return f"in flight: {ends}; a later one: {measured['late']}; exit code {measured['exit_code']}"


def _ratio(measured: Mapping[str, Any]) -> str:
    rounds: Sequence[float] = measured["rounds"]
    return f"**{measured['median']:.2f}** ({min(rounds):.2f} to {max(rounds):.2f})"


def _load(measured: Mapping[str, Any]) -> str:
    return f"{measured['load_average_before']:.1f}"
