"""Comparisons as text for a terminal."""

from __future__ import annotations

from sdopt.bench.compare_record import CompareRecord, SideFacts
from sdopt.bench.peers.catalog import PEERS
from sdopt.bench.statistics import Interval
from sdopt.bench.text import table

HEADINGS = ("side", "s/picture", "× the reference", "from", "to", "PSNR dB", "load s", "GB")


def compare_text(record: CompareRecord) -> str:
    """Lay a comparison out as a table."""
    rounds = sum(len(start) for start in record.turns[0].rounds_s)
    return "\n".join(
        [
            f"{record.case}; all beside {record.reference}, {rounds} rounds each",
            *table([HEADINGS, *compare_rows(record)]),
            "× the reference: how many times as long as the reference took, from turns on the same "
            "pictures.",
            f"PSNR: of the first picture against that of {record.pictures_against}.",
        ]
    )


def compare_rows(record: CompareRecord) -> list[tuple[str, ...]]:
    """Lay out each side; the reference first."""
    facts = {side.name: side for side in record.sides}
    reference = facts[record.reference]
    medians = [turns.reference_median_s for turns in record.turns]
    rows = [
        (reference, sum(medians) / len(medians), ("1", "", "")),
        *((facts[each.name], each.median_s, times(each.ratio)) for each in record.turns),
    ]
    return [_row(*row, _psnr(row[0], record.pictures_against)) for row in rows]


def times(ratio: Interval | None) -> tuple[str, str, str]:
    """Turn the reference's times over a side's into how many times as long the side took."""
    if ratio is None:
        return "-", "-", "-"
    return tuple(f"{1 / x:.3f}" for x in (ratio.estimate, ratio.high, ratio.low))  # type: ignore[return-value]


def peers_text() -> str:
    """Lay the peers out with what they are told."""
    rows = [
        (
            peer.name,
            ", ".join(peer.devices),
            ", ".join(f"{name} {value}" for name, value in peer.settings.items()) or "as it comes",
            peer.source,
        )
        for peer in PEERS.values()
    ]
    return "\n".join(table([("peer", "on", "settings", "as its documentation says"), *rows]))


def _psnr(side: SideFacts, against: str) -> str:
    if side.name == against:
        return "itself"
    return "same" if side.psnr_db is None else f"{side.psnr_db:.1f}"


def _row(
    side: SideFacts, median_s: float, ratio: tuple[str, str, str], psnr: str
) -> tuple[str, ...]:
    memory = f"{side.peak_host_bytes / 1e9:.2f}"
    return (side.name, f"{median_s:.4g}", *ratio, psnr, f"{side.load_s:.3g}", memory)
