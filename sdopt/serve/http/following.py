"""Follow a job from a coroutine: its events, until it ends or its client goes away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from starlette.requests import Request
from starlette.types import Receive

from sdopt.errors import CancelledError
from sdopt.pipeline import Pipeline
from sdopt.serve.http.state import State
from sdopt.serve.job import Event, Failed, Finished, Job, Order
from sdopt.serve.service import PictureService


class Body(Protocol):
    """A request of some API."""

    def check(self) -> None:
        """Refuse what is not supported, before anything is loaded."""

    def model_of(self, state: State) -> str:
        """Return the name of the bundle that is asked for."""
        ...

    async def order(self, state: State, model: str, pipeline: Pipeline) -> Order:
        """Turn the request into an order, now that its bundle is loaded."""
        ...


async def follow(body: Body, request: Request, state: State) -> Following:
    """Wait for a request's bundle, check the request against it, and submit the order.

    Raises:
        RequestError: It is refused.
        ServerError: It cannot be taken on now.
    """
    body.check()
    model = body.model_of(state)
    async with state.pipeline(model) as pipeline:
        return Following(state.service, await body.order(state, model, pipeline), request)


class Following:
    """A submitted order. Leaving it early, in any way, cancels the job."""

    def __init__(self, service: PictureService, order: Order, request: Request) -> None:
        """Submit the order.

        Raises:
            RequestError: It is refused.
            ServerError: It cannot be taken on now.
        """
        self._service, self._receive = service, request.receive
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self.order = order
        self.job: Job = service.submit(order, self._hear, request.scope["sdopt_request_id"])

    async def events(self) -> AsyncGenerator[Event]:
        """Yield what happens, the last event last."""
        watcher = asyncio.create_task(self._watch(self._receive))
        try:
            while (event := await self._events.get()) is not None:
                yield event
                if isinstance(event, (Finished, Failed)):
                    return
        finally:
            watcher.cancel()
            self._service.cancel(self.job)

    async def finished(self, hear: Callable[[Event], None] | None = None) -> Finished:
        """Return the pictures.

        Args:
            hear: Told of every event on the way.

        Raises:
            SdoptError: Why there are none.
        """
        async with contextlib.aclosing(self.events()) as events:
            async for event in events:
                if hear is not None:
                    hear(event)
                if isinstance(event, Finished):
                    return event
                if isinstance(event, Failed):
                    raise event.error
        raise CancelledError

    def _hear(self, event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # the server has stopped, nobody listens
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def _watch(self, receive: Receive) -> None:
        """End the events when the client goes away."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._events.put_nowait(None)
