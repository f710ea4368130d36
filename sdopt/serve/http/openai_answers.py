"""What the OpenAI Images API answers: one body, or a stream of events."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from fastapi.responses import JSONResponse, Response, StreamingResponse

from sdopt.serve.http.errors import openai_error
from sdopt.serve.http.following import Following
from sdopt.serve.job import Event, Failed, Finished, Order, Preview, Progress, Queued


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How an order is answered.

    Attributes:
        prefix: Of the events' names.
        stream: Whether there are events.
        progress: Whether there are events for the queue and for steps too.
    """

    prefix: Literal["image_generation", "image_edit"]
    stream: bool
    progress: bool


async def answered(following: Following, wanted: Wanted) -> Response:
    """Wait for an order, or begin the stream of its events."""
    order = following.order
    if wanted.stream:
        return StreamingResponse(
            _stream(following, order, wanted),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache"},
        )
    finished = await following.finished()
    data = [
        {"b64_json": base64.b64encode(p.data).decode(), "revised_prompt": None} | _about(p.settings)
        for p in finished.pictures
    ]
    return JSONResponse(_common(order) | {"data": data, "timings": _timings(finished)})


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


async def _stream(following: Following, order: Order, wanted: Wanted) -> AsyncIterator[bytes]:
    common = _common(order)
    common["created_at"] = common.pop("created")
    async with contextlib.aclosing(following.events()) as events:
        async for event in events:
            for kind, data in _messages(event, progress=wanted.progress):
                name = kind if kind == "error" else f"{wanted.prefix}.{kind}"
                yield _sse(name, {"type": name} | common | data)


def _messages(event: Event, *, progress: bool) -> list[tuple[str, dict[str, object]]]:
    """Turn an event into the messages that clients get: kinds and what is particular to them."""
    if isinstance(event, Preview):
        image = base64.b64encode(event.png).decode()
        data = {"b64_json": image, "partial_image_index": event.number, "index": event.index}
        return [("partial_image", data | {"output_format": "png"})]
    if isinstance(event, Finished):
        return [
            (
                "completed",
                {"b64_json": base64.b64encode(p.data).decode(), "index": i}
                | _about(p.settings)
                | {"timings": _timings(event)},
            )
            for i, p in enumerate(event.pictures)
        ]
    if isinstance(event, Failed):
        return [("error", {"error": openai_error(event.error)})]
    if progress and isinstance(event, Queued):
        return [("queued", dataclasses.asdict(event))]
    if progress and isinstance(event, Progress):
        return [("progress", dataclasses.asdict(event))]
    return []


def _sse(name: str, data: dict[str, object]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
