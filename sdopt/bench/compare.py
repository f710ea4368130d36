"""sdopt beside its peers: two sides at a time, in turn, on the same work.

The reference (sdopt on one engine) stays loaded while each other side joins it, takes turns with
it and leaves again, so no more than two sides are in memory. In every round both make the same
picture, A B B A, so whatever else the machine does hits both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdopt.bench.compare_record import CompareRecord, SideFacts, Turns
from sdopt.bench.environment import environment
from sdopt.bench.record import now, rounded
from sdopt.bench.run import ask_of
from sdopt.bench.sides import RunningSide, Side, running
from sdopt.bench.work import PROMPT, Case
from sdopt.runtime.images import psnr_db

_EXACT = "diffusers-fp32"
Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A side and where its settings come from."""

    side: Side
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """What is compared.

    Attributes:
        reference: Takes turns with every other side.
        others: At least one.
        case: The work.
        rounds: In each start of a pair of processes.
        starts: How often each pair is started.
        warmups: Pictures of each side before the first round.
        checkpoint: Its name.
        bundle: Its name.
        command: The command line, for the record.
    """

    reference: Entry
    others: Sequence[Entry]
    case: Case
    rounds: int
    starts: int
    warmups: int
    checkpoint: str
    bundle: str
    command: Sequence[str]


@dataclass(slots=True)
class _Notes:
    """What is gathered about a side on the way."""

    starts: list[Mapping[str, Any]] = field(default_factory=list)
    first_pictures_s: list[float] = field(default_factory=list)
    peak_host_bytes: int = 0
    picture: Path | None = None


def compare(contest: Contest, report: Report = lambda _, __: None) -> CompareRecord:
    """Let every side take turns with the reference.

    Raises:
        MeasuringError: A side failed; the message says of what.
    """
    entries = [contest.reference, *contest.others]
    notes = {entry.side.name: _Notes() for entry in entries}
    rounds: dict[str, list[Any]] = {entry.side.name: [] for entry in contest.others}
    here, made_at = environment(), now()
    with TemporaryDirectory() as folder:
        match = _Match(contest, notes, Path(folder))
        for number in range(contest.starts):
            with match.joined(contest.reference) as reference:
                for index, other in enumerate(contest.others):
                    done = (number * len(contest.others) + index) / contest.starts
                    report(f"{other.side.name}", done / len(contest.others))
                    with match.joined(other) as process:
                        rounds[other.side.name].append(match.turns(reference, process))
        exact = _EXACT if _EXACT in notes else contest.reference.side.name
        facts = [_facts(entry, notes[entry.side.name], notes[exact]) for entry in entries]
    return CompareRecord(
        kind="compare",
        format_version=1,
        made_at=made_at,
        command=tuple(contest.command),
        environment=here.of(facts[0].versions),
        checkpoint=contest.checkpoint,
        bundle=contest.bundle,
        case=contest.case,
        reference=contest.reference.side.name,
        pictures_against=exact,
        sides=tuple(facts),
        turns=tuple(Turns(name=name, rounds_s=tuple(made)) for name, made in rounds.items()),
    )


class _Match:
    """Starts sides and lets them take turns."""

    def __init__(self, contest: Contest, notes: dict[str, _Notes], folder: Path) -> None:
        self._contest, self._notes, self._folder = contest, notes, folder

    @contextmanager
    def joined(self, entry: Entry) -> Iterator[_Player]:
        """Start a side, and warm it up; what it tells is noted."""
        notes = self._notes[entry.side.name]
        with running(entry.side) as process:
            notes.starts.append(process.start)
            player = _Player(process, notes)
            path = self._folder / f"{entry.side.name}.png"
            first = player.wall_s({**self._ask(0), "keep": str(path)})
            notes.picture = path
            notes.first_pictures_s.append(first)
            for number in range(1, self._contest.warmups):
                player.wall_s(self._ask(number))
            yield player

    def turns(self, reference: _Player, other: _Player) -> tuple[tuple[float, ...], ...]:
        """Play the rounds: A B, then B A, and so on."""
        pairs = []
        for number in range(self._contest.rounds):
            ask = self._ask(self._contest.warmups + number)
            if number % 2:
                theirs = other.wall_s(ask)
                ours = reference.wall_s(ask)
            else:
                ours = reference.wall_s(ask)
                theirs = other.wall_s(ask)
            pairs.append((rounded(ours), rounded(theirs)))
        return tuple(pairs)

    def _ask(self, number: int) -> dict[str, Any]:
        return ask_of(self._contest.case, f"{PROMPT} {number}")


@dataclass(frozen=True, slots=True)
class _Player:
    process: RunningSide
    notes: _Notes

    def wall_s(self, ask: Mapping[str, Any]) -> float:
        """Make a picture and return its wall time, in seconds."""
        figures = self.process.picture(ask)
        self.notes.peak_host_bytes = max(self.notes.peak_host_bytes, figures["peak_host_bytes"])
        return float(figures["wall_s"])


def _pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _facts(entry: Entry, notes: _Notes, exact: _Notes) -> SideFacts:
    assert notes.picture is not None
    assert exact.picture is not None
    told = {name: median(start[name] for start in notes.starts) for name in ("import_s", "load_s")}
    hidden = ("model", "bundle", "height", "width", "batch")
    settings = {k: v for k, v in entry.side.setup.items() if k not in hidden and v is not None}
    return SideFacts(
        name=entry.side.name,
        settings=settings,
        source=entry.source,
        versions=notes.starts[0]["versions"],
        **rounded(told),
        first_picture_s=rounded(median(notes.first_pictures_s)),
        peak_host_bytes=notes.peak_host_bytes,
        psnr_db=rounded(psnr_db(_pixels(notes.picture), _pixels(exact.picture))),
    )
