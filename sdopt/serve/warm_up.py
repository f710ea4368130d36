"""Run the loaded bundles once before the first request, so that step times are known."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial

from sdopt.serve.job import Event, Failed, Finished, Order
from sdopt.serve.service import PictureService


def warm_up(service: PictureService) -> None:
    """Make one picture of two steps with every loaded bundle, at its default size.

    Raises:
        SdoptError: A bundle cannot make one.
    """
    for name in service.models.loaded:
        done: Future[None] = Future()
        claim = service.claim(name)
        try:
            request = claim.pipeline.result().empty_request(num_inference_steps=2)
            service.submit(Order(model=name, request=request), partial(_resolve, done))
            done.result()
        finally:
            service.models.leave(claim)


def _resolve(done: Future[None], event: Event) -> None:
    if isinstance(event, Finished):
        done.set_result(None)
    elif isinstance(event, Failed):
        done.set_exception(event.error)
