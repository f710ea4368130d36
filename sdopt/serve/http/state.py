"""What the routes share."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, cast

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from sdopt.errors import UnknownNameError
from sdopt.pipeline import Pipeline
from sdopt.runtime.request import GenerationRequest
from sdopt.runtime.request_options import RequestOptions
from sdopt.serve.job import Job
from sdopt.serve.service import PictureService


@dataclass(slots=True)
class State:
    """The service behind the routes.

    Attributes:
        service: Makes the pictures.
        started_s: Unix time.
        web_ui_jobs: Those of the AUTOMATIC1111 API, which speaks of "the" running job.
    """

    service: PictureService
    started_s: int = field(default_factory=lambda: int(time.time()))
    web_ui_jobs: list[Job] = field(default_factory=list)

    @property
    def default_model(self) -> str:
        """The bundle of requests that name none."""
        return next(iter(self.service.models))

    def pipeline(self, model: str) -> Pipeline:
        """Return the pipeline of a bundle.

        Raises:
            UnknownNameError: There is none of this name.
        """
        if model not in self.service.models:
            raise UnknownNameError("model", model, tuple(self.service.models))
        return self.service.models[model]

    async def request(self, model: str, options: dict[str, Any]) -> GenerationRequest:
        """Check a request, off the event loop: its scheduler is compiled here.

        Raises:
            RequestError: It cannot be carried out as it stands.
        """
        pipeline = self.pipeline(model)
        given = {name: value for name, value in options.items() if value is not None}
        for name in ("prompt", "negative_prompt"):
            if isinstance(given.get(name), str):
                self.service.limits.check_prompt(name, given[name])
        prompt = given.pop("prompt")
        return await run_in_threadpool(pipeline.request, prompt, **cast(RequestOptions, given))


def state_of(request: Request) -> State:
    """Return the state of the application that serves a request."""
    return cast(State, request.app.state.sdopt)
