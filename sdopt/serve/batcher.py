"""Rows of many jobs over the denoising loops: who joins, who steps next, who leaves."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sdopt.errors import EngineError, SdoptError
from sdopt.runtime.loop import DenoisingLoop, StepReport
from sdopt.runtime.ports import FloatArray
from sdopt.runtime.request import GenerationRequest
from sdopt.runtime.row import Row, RowRequest
from sdopt.serve.job import Job

_KEPT_IDLE_LOOPS = 4


@dataclass(frozen=True, slots=True)
class GroupKey:
    """Rows that can share one UNet call: of one bundle, latent shape and prompt length."""

    model: str
    latent_shape: tuple[int, int, int]
    length: int


@dataclass(frozen=True, slots=True)
class Seat:
    """Whose picture a row makes, and in which pass of it, counted from 0."""

    job: Job
    index: int
    number: int = 0

    @property
    def request(self) -> GenerationRequest:
        """The pass that the row goes through."""
        return self.job.order.passes[self.number]

    @property
    def last(self) -> bool:
        """Whether what it leaves are the picture's latents."""
        return self.number == len(self.job.order.passes) - 1

    def evaluation(self, stage: int) -> int:
        """Count the evaluations of the picture up to a stage of this pass."""
        return stage + sum(one.plan.stages for one in self.job.order.passes[: self.number])


@dataclass(frozen=True, slots=True)
class QueuedRow:
    """A pass of a picture that waits for a free row."""

    seat: Seat
    key: GroupKey
    request: RowRequest


@dataclass(slots=True)
class _Group:
    loop: DenoisingLoop
    seats: dict[Row, Seat] = field(default_factory=dict)
    turn: float = 0.0


@dataclass(slots=True)
class _Claim:
    """A job's rows that wait, and how many run."""

    rows: deque[QueuedRow]
    running: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step did, by the seats that it concerns.

    Attributes:
        key: The group that stepped.
        batch: How many UNet rows took part.
        advanced: Every row that took part.
        finished: With the finished latents, (channels, height/8, width/8) float32.
        previews: With the predicted finished latents.
        failed: Jobs that lost a row; all their rows have left.
    """

    key: GroupKey
    batch: int
    advanced: tuple[Seat, ...]
    finished: tuple[tuple[Seat, FloatArray], ...]
    previews: tuple[tuple[Seat, int, FloatArray], ...]
    failed: tuple[tuple[Job, SdoptError], ...]


class Batcher:
    """Owns the denoising loops of a server. Pure and single-threaded: time and I/O are others'.

    A free row goes to the job that has the fewest rows, the earliest among equals: one request
    for ten pictures does not keep another from its first. Groups take turns, each charged its
    pixels, so that a large size does not starve a small one, nor the other way round.
    """

    def __init__(self, new_loop: Callable[[GroupKey, int], DenoisingLoop], max_rows: int) -> None:
        """Start without rows.

        Args:
            new_loop: Makes the loop of a group for so many rows.
            max_rows: Rows at the same time, over all groups.
        """
        self._new_loop, self._max_rows = new_loop, max_rows
        self._claims: dict[Job, _Claim] = {}
        self._groups: OrderedDict[GroupKey, _Group] = OrderedDict()

    @property
    def rows(self) -> int:
        """How many rows run."""
        return sum(claim.running for claim in self._claims.values())

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs that have rows here, in order of arrival."""
        return tuple(self._claims)

    @property
    def waiting(self) -> tuple[Job, ...]:
        """The jobs that have no row yet, in order of arrival."""
        return tuple(job for job in self._claims if job.started_s is None)

    def models(self) -> set[str]:
        """Return the bundles that are in use."""
        return {job.order.model for job in self._claims}

    def add(self, job: Job, rows: Iterable[QueuedRow]) -> None:
        """Take in a job, or more of one; its rows join as soon as there is room, at any step."""
        self._claims.setdefault(job, _Claim(deque())).rows.extend(rows)

    def drop(self, job: Job) -> None:
        """Take every row of a job out. A job that is not here is no error."""
        if self._claims.pop(job, None) is None:
            return
        for group in self._groups.values():
            for row in [row for row, seat in group.seats.items() if seat.job is job]:
                group.loop.cancel(row)
                del group.seats[row]

    def admit(self) -> list[Job]:
        """Give the free rows away; return the jobs that got their first."""
        started = []
        free = self._max_rows - self.rows
        while free and (job := self._next_job()):
            claim = self._claims[job]
            if job.started_s is None and not claim.running:
                started.append(job)
            self._seat(claim.rows.popleft())
            claim.running += 1
            free -= 1
        return started

    def step(self) -> Outcome | None:
        """Advance the group whose turn it is by one evaluation; None if there are no rows."""
        active = {key: group for key, group in self._groups.items() if group.seats}
        if not active:
            return None
        key = min(active, key=lambda each: active[each].turn)
        group = active[key]
        group.turn += key.latent_shape[1] * key.latent_shape[2]
        before = dict(group.seats)
        batch = sum(1 + row.guided for row in before)
        report = _run(group.loop, [row for row in before if _wants_preview(row, before[row])])
        return self._outcome(key, batch, before, report)

    def forget(self, model: str) -> None:
        """Free the buffers of a bundle's loops; none of its rows may run."""
        for key in [key for key in self._groups if key.model == model]:
            del self._groups[key]

    def _next_job(self) -> Job | None:
        waiting = (job for job, claim in self._claims.items() if claim.rows)
        return min(waiting, key=lambda job: self._claims[job].running, default=None)

    def _seat(self, queued: QueuedRow) -> None:
        group = self._group(queued.key)
        row = group.loop.admit(queued.request)
        group.seats[row] = queued.seat

    def _group(self, key: GroupKey) -> _Group:
        group = self._groups.pop(key, None) or _Group(self._new_loop(key, self._max_rows))
        if not group.seats:
            turns = [other.turn for other in self._groups.values() if other.seats]
            group.turn = min(turns, default=0.0)
        self._groups[key] = group
        idle = [
            key for key, other in self._groups.items() if not other.seats and other is not group
        ]
        for old in idle[: max(0, len(idle) - _KEPT_IDLE_LOOPS)]:
            del self._groups[old]
        return group

    def _outcome(
        self, key: GroupKey, batch: int, before: dict[Row, Seat], report: StepReport
    ) -> Outcome:
        failed = [(before[row].job, error) for row, error in report.failed]
        for row in [*report.finished, *(row for row, _ in report.failed)]:
            seat = self._groups[key].seats.pop(row)
            self._claims[seat.job].running -= 1
        for job, _ in failed:
            self.drop(job)
        finished = [(before[row], row.latents) for row in report.finished]
        for job in [job for job, claim in self._claims.items() if claim == _Claim(deque())]:
            del self._claims[job]
        previews = [(before[p.row], p.stage, p.denoised) for p in report.previews]
        lost = {row for row, _ in report.failed}
        advanced = [seat for row, seat in before.items() if row not in lost]
        return Outcome(key, batch, tuple(advanced), tuple(finished), tuple(previews), tuple(failed))


def _wants_preview(row: Row, seat: Seat) -> bool:
    return seat.evaluation(row.stage + 1) in seat.job.order.preview_stages


def _run(loop: DenoisingLoop, previews: list[Row]) -> StepReport:
    try:
        return loop.step(previews)
    except EngineError:
        return loop.step_apart(previews)
