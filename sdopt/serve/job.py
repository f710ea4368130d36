"""A request on its way through the server, and what its sender is told."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sdopt.errors import SdoptError
from sdopt.runtime.request import GenerationRequest
from sdopt.serve.claims import Claim
from sdopt.serve.picture_files import PictureFormat


@dataclass(frozen=True, slots=True)
class Queued:
    """The job waits for its first row; ``ahead`` requests come before it."""

    ahead: int


@dataclass(frozen=True, slots=True)
class Progress:
    """So many evaluations of the UNet are done, over all pictures of the job."""

    completed: int
    total: int


@dataclass(frozen=True, slots=True)
class Preview:
    """An approximate picture, as PNG bytes, of picture ``index``; the ``number``-th of it."""

    index: int
    number: int
    png: bytes


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished picture: its file, and all that is needed to make it again."""

    data: bytes
    settings: dict[str, object]


@dataclass(frozen=True, slots=True)
class JobTimings:
    """Seconds until the first row started, from there to the last picture, and both together."""

    queue_s: float
    run_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class Finished:
    """Every picture is done, in order. The last event of a job."""

    pictures: tuple[Picture, ...]
    timings: JobTimings


@dataclass(frozen=True, slots=True)
class Failed:
    """The job ended without its pictures. The last event of a job."""

    error: SdoptError


Event = Queued | Progress | Preview | Finished | Failed
Listener = Callable[[Event], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is asked of the server.

    Attributes:
        model: The name of a loaded bundle.
        request: The checked request.
        format: How the pictures are written.
        partial_images: How many previews of each picture are wanted, evenly spaced.
    """

    model: str
    request: GenerationRequest
    format: PictureFormat = field(default_factory=PictureFormat)
    partial_images: int = 0

    @property
    def passes(self) -> tuple[GenerationRequest, ...]:
        """What each picture goes through: the request, and its second pass if it has one."""
        second = self.request.second
        return (self.request,) if second is None else (self.request, second.request)

    @property
    def evaluations(self) -> int:
        """Evaluations of the UNet over all pictures and passes."""
        return self.request.evaluations * self.request.num_images

    @property
    def work(self) -> int:
        """The cost of all evaluations."""
        pictures = self.request.num_images
        return pictures * sum(one.plan.stages * row_cost(one) for one in self.passes)

    @property
    def preview_stages(self) -> tuple[int, ...]:
        """After which evaluations a preview is made; fewer where there are too few evaluations."""
        stages, parts = self.request.evaluations, self.partial_images + 1
        return tuple(sorted({stages * part // parts for part in range(1, parts)} - {0, stages}))


def row_cost(request: GenerationRequest) -> int:
    """Return UNet rows times pixels of one evaluation of one picture: what its time grows with."""
    return (2 if request.guided else 1) * request.height * request.width


class Job:
    """An order in progress. Its listener hears of it, from any thread, until it is settled.

    Attributes:
        id: For logs and headers.
        order: As submitted.
        claim: Keeps its bundle loaded until its rows have left.
        created_s: When it was submitted, on the monotonic clock.
        started_s: When its first row was admitted; None before.
        completed: Evaluations done.
        previewed: Whether there was a preview.
    """

    def __init__(
        self,
        order: Order,
        listener: Listener,
        job_id: str | None = None,
        claim: Claim | None = None,
    ) -> None:
        self.id = job_id or secrets.token_hex(8)
        self.order, self.claim = order, claim or Claim(order.model)
        self.created_s = time.monotonic()
        self.started_s: float | None = None
        self.completed = 0
        self.previewed = False
        self._ahead: int | None = None
        self._listener = listener
        self._lock = threading.Lock()
        self._settled = False
        self._pictures: dict[int, Picture] = {}

    @property
    def settled(self) -> bool:
        """Whether the last event was sent."""
        return self._settled

    def tell(self, event: Queued | Progress | Preview) -> None:
        """Send an event, unless the job is settled."""
        with self._lock:
            if not self._settled:
                self._listener(event)

    def settle(self, event: Finished | Failed) -> bool:
        """Send the last event; say whether this call was the one that did."""
        with self._lock:
            if self._settled:
                return False
            self._settled = True
            self._listener(event)
            return True

    def wait_behind(self, ahead: int) -> None:
        """Tell how many requests are ahead, if that has changed."""
        if ahead != self._ahead:
            self._ahead = ahead
            self.tell(Queued(ahead))

    def advance(self) -> None:
        """Count one evaluation, and tell."""
        self.completed += 1
        self.tell(Progress(self.completed, self.order.evaluations))

    def keep(self, index: int, picture: Picture) -> Finished | None:
        """Keep a finished picture; return the last event once there are all."""
        self._pictures[index] = picture
        count = self.order.request.num_images
        if len(self._pictures) < count:
            return None
        return Finished(tuple(self._pictures[i] for i in range(count)), self._timings())

    def _timings(self) -> JobTimings:
        now, started = time.monotonic(), self.started_s or self.created_s
        return JobTimings(started - self.created_s, now - started, now - self.created_s)
