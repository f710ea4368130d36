"""Requests and listeners that the tests of the server share."""

from __future__ import annotations

import queue
from io import BytesIO

import numpy as np
from PIL import Image

from sdopt.runtime.request import GenerationRequest
from sdopt.runtime.schedule_request import ScheduleRequest
from sdopt.runtime.schedulers import Plan
from sdopt.serve.job import Event, Failed, Finished


def generation_request(steps: int, pictures: int, plan: Plan) -> GenerationRequest:
    """Return a request of 64×64 pixels that was not checked by any bundle."""
    return GenerationRequest(
        prompts=("",), negative_prompt="", clip_skip=0, concepts=(),
        schedule=ScheduleRequest(plan=plan, num_inference_steps=steps, settings={}),
        guidance_scale=7.5, seed=0, height=64, width=64, num_images_per_prompt=pictures,
    )  # fmt: skip


class Ear:
    """Listens to one job."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.events: list[Event] = []
        self.hear = self._queue.put

    def next(self, timeout_s: float = 60) -> Event:
        self.events.append(self._queue.get(timeout=timeout_s))
        return self.events[-1]

    def until(self, kind: type[Event]) -> Event:
        while not isinstance(event := self.next(), kind):
            assert not isinstance(event, (Finished, Failed)), event
        return event

    def end(self) -> Finished | Failed:
        while not isinstance(event := self.next(), (Finished, Failed)):
            pass
        return event


def pixels(data: bytes) -> bytes:
    """Return the pixels of a picture file."""
    return np.asarray(Image.open(BytesIO(data))).tobytes()
