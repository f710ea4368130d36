"""What the routes share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

from anyio import CapacityLimiter, to_thread
from fastapi import Request

from sdopt.errors import QueueTimeoutError
from sdopt.pipeline import Pipeline
from sdopt.runtime.request import GenerationRequest
from sdopt.runtime.request_options import RequestOptions
from sdopt.serve.http.webui_options import WebUiState
from sdopt.serve.service import PictureService

Found = TypeVar("Found")


@dataclass(slots=True)
class State:
    """The service behind the routes.

    Attributes:
        service: Makes the pictures.
        started_s: Unix time.
        web_ui: What the AUTOMATIC1111 API keeps between requests.
    """

    service: PictureService
    started_s: int = field(default_factory=lambda: int(time.time()))
    web_ui: WebUiState = field(default_factory=WebUiState)
    _checking: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(2))

    @property
    def default_model(self) -> str:
        """The bundle of requests that name none."""
        return self.service.models.names[0]

    @asynccontextmanager
    async def pipeline(self, model: str) -> AsyncIterator[Pipeline]:
        """Keep a bundle loaded during the block, and wait for it before.

        Raises:
            UnknownNameError: There is none of this name.
            ServerError: It cannot be waited for now, or was not loaded in time.
        """
        claim, limit_s = self.service.claim(model), self.service.limits.queue_timeout_s
        try:
            coming = asyncio.wrap_future(claim.pipeline)
            await asyncio.wait({coming}, timeout=limit_s)
            if not coming.done():
                raise QueueTimeoutError(limit_s, self.service.retry_after_s())
            yield await coming
        finally:
            self.service.models.leave(claim)

    async def request(self, pipeline: Pipeline, options: dict[str, Any]) -> GenerationRequest:
        """Check a request, off the event loop: its scheduler is compiled here.

        Raises:
            RequestError: It cannot be carried out as it stands.
        """
        given = {name: value for name, value in options.items() if value is not None}
        for name in ("prompt", "negative_prompt"):
            if isinstance(given.get(name), str):
                self.service.limits.check_prompt(name, given[name])
        prompt = given.pop("prompt")
        return await self.apart(partial(pipeline.request, prompt, **cast(RequestOptions, given)))

    async def apart(self, action: Callable[[], Found]) -> Found:
        """Do something off the event loop, of which no more than two are done at once.

        Schedulers are compiled and pictures opened here: each takes a core, and a picture memory.
        """
        return await to_thread.run_sync(action, limiter=self._checking)


def state_of(request: Request) -> State:
    """Return the state of the application that serves a request."""
    return cast(State, request.app.state.sdopt)
