"""The OpenAI Images API, for text to image."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Value

from sdopt.errors import InvalidValueError, UnknownNameError
from sdopt.serve.http.errors import openai_error
from sdopt.serve.http.fields import refuse_the_unsupported
from sdopt.serve.http.following import Following
from sdopt.serve.http.openai_fields import OPENAI_FIELDS
from sdopt.serve.http.state import State, state_of
from sdopt.serve.job import Event, Failed, Finished, Order, Preview, Progress, Queued
from sdopt.serve.picture_files import OutputFormat, PictureFormat

router = APIRouter(prefix="/v1", tags=["OpenAI Images API"])
_State = Annotated[State, Depends(state_of)]
_OPTIONS = (
    "prompt",
    "negative_prompt",
    "seed",
    "num_inference_steps",
    "guidance_scale",
    "scheduler",
    "eta",
    "clip_skip",
)


class ImagesRequest(BaseModel):
    """A request for pictures; docs/api-openai.md says what each field does."""

    model_config = ConfigDict(extra="allow", strict=True)

    prompt: str
    model: str | None = None
    n: Annotated[int, Value(ge=1, le=10)] | None = None
    size: str | None = None
    response_format: Literal["b64_json", "url"] | None = None
    output_format: OutputFormat | None = None
    output_compression: Annotated[int, Value(ge=0, le=100)] | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Value(ge=0, le=3)] | None = None
    seed: int | None = None
    negative_prompt: str | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    scheduler: str | None = None
    eta: float | None = None
    clip_skip: int | None = None
    progress: bool | None = None

    def check(self) -> None:
        """Refuse what is not supported, and what makes no sense together.

        Raises:
            RequestError: The message says what.
        """
        refuse_the_unsupported(self.model_dump(exclude_unset=True), OPENAI_FIELDS)
        if self.response_format == "url":
            raise InvalidValueError("response_format", "url", "'b64_json'", "No files are kept")
        for name in ("partial_images", "progress"):
            if getattr(self, name) and not self.stream:
                value = getattr(self, name)
                raise InvalidValueError(name, value, "for streams only", 'Send "stream": true')
        if self.output_compression is not None and self.output_format in (None, "png"):
            raise InvalidValueError(
                "output_compression", self.output_compression, "for jpeg and webp only"
            )

    async def order(self, state: State) -> Order:
        """Turn the request into an order.

        Raises:
            RequestError: It cannot be carried out as it stands.
        """
        self.check()
        model = self.model if self.model is not None else state.default_model
        options: dict[str, Any] = {name: getattr(self, name) for name in _OPTIONS}
        options |= _size(self.size) | {"num_images_per_prompt": self.n}
        quality = 100 if self.output_compression is None else self.output_compression
        return Order(
            model=model,
            request=await state.request(model, options),
            format=PictureFormat(kind=self.output_format or "png", quality=quality),
            partial_images=self.partial_images or 0,
        )


@router.post("/images/generations")
async def generate(body: ImagesRequest, request: Request, state: _State) -> Response:
    """Make pictures from a prompt."""
    order = await body.order(state)
    following = Following(state.service, order, request)
    if body.stream:
        events = _stream(following, order, progress=bool(body.progress))
        return StreamingResponse(
            events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
        )
    finished = await following.finished()
    data = [
        {"b64_json": base64.b64encode(p.data).decode(), "revised_prompt": None} | _about(p.settings)
        for p in finished.pictures
    ]
    return JSONResponse(_common(order) | {"data": data, "timings": _timings(finished)})


@router.get("/models")
async def models(state: _State) -> dict[str, object]:
    """List the bundles that the server has."""
    return {"object": "list", "data": [_model(name, state) for name in state.service.models]}


@router.get("/models/{model}")
async def model(model: str, state: _State) -> dict[str, object]:
    """Describe one bundle: its defaults, and what a web page needs to know."""
    if model not in state.service.models:
        raise UnknownNameError("model", model, tuple(state.service.models))
    return _model(model, state)


def _model(name: str, state: State) -> dict[str, object]:
    manifest = state.pipeline(name).bundle.manifest
    defaults = manifest.defaults
    return {
        "id": name,
        "object": "model",
        "created": state.started_s,
        "owned_by": "sdopt",
        "family": manifest.family,
        "size_multiple": manifest.vae_scale_factor,
        "defaults": {
            "width": defaults.width,
            "height": defaults.height,
            "num_inference_steps": defaults.num_inference_steps,
            "guidance_scale": defaults.guidance_scale,
        },
    }


def _size(size: str | None) -> dict[str, int]:
    if size is None or size == "auto":
        return {}
    if not (match := re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", size)):
        raise InvalidValueError("size", size[:20], "'auto' or WIDTHxHEIGHT in pixels")
    return {"width": int(match[1]), "height": int(match[2])}


def _about(settings: dict[str, object]) -> dict[str, object]:
    return {"seed": settings["seed"], "settings": settings}


def _timings(finished: Finished) -> dict[str, float]:
    timings = finished.timings
    return {
        "queue_ms": round(timings.queue_s * 1e3, 3),
        "run_ms": round(timings.run_s * 1e3, 3),
        "total_ms": round(timings.total_s * 1e3, 3),
    }


def _common(order: Order) -> dict[str, object]:
    usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    return {
        "created": int(time.time()),
        "model": order.model,
        "background": "opaque",
        "output_format": order.format.kind,
        "size": f"{order.request.width}x{order.request.height}",
        "usage": usage | {"input_tokens_details": {"image_tokens": 0, "text_tokens": 0}},
    }


async def _stream(following: Following, order: Order, *, progress: bool) -> AsyncIterator[bytes]:
    common = _common(order)
    common["created_at"] = common.pop("created")
    async with contextlib.aclosing(following.events()) as events:
        async for event in events:
            for name, data in _messages(event, progress=progress):
                yield _sse(name, {"type": name} | common | data)


def _messages(event: Event, *, progress: bool) -> list[tuple[str, dict[str, object]]]:
    """Turn an event into the messages that clients get: names and what is particular to them."""
    if isinstance(event, Preview):
        image = base64.b64encode(event.png).decode()
        data = {"b64_json": image, "partial_image_index": event.number, "index": event.index}
        return [("image_generation.partial_image", data | {"output_format": "png"})]
    if isinstance(event, Finished):
        return [
            (
                "image_generation.completed",
                {"b64_json": base64.b64encode(p.data).decode(), "index": i}
                | _about(p.settings)
                | {"timings": _timings(event)},
            )
            for i, p in enumerate(event.pictures)
        ]
    if isinstance(event, Failed):
        return [("error", {"error": openai_error(event.error)})]
    if progress and isinstance(event, Queued):
        return [("image_generation.queued", dataclasses.asdict(event))]
    if progress and isinstance(event, Progress):
        return [("image_generation.progress", dataclasses.asdict(event))]
    return []


def _sse(name: str, data: dict[str, object]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
