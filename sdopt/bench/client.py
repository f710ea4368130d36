"""One request to a server and what came of it, with nothing but the standard library."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

Outcome = Literal["finished", "rejected", "refused", "failed", "cancelled"]
_PATH = "/v1/images/generations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request that is to be sent.

    Attributes:
        body: Its fields.
        after_s: When it is meant to be sent, in seconds after the start.
        leave_after_s: When its client goes away, in seconds after sending; None to stay.
    """

    body: Mapping[str, Any]
    after_s: float = 0.0
    leave_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a request.

    Attributes:
        ask: The request.
        outcome: ``rejected`` is 429 or 503, ``refused`` any other 4xx, ``failed`` any 5xx or an
            error in the stream, ``cancelled`` a client that went away.
        status: Of HTTP; 0 for a client that went away.
        total_s: From the intended sending to the end of the answer.
        exchange_s: From the actual sending to the end of the answer.
        first_partial_s: From the intended sending to the first partial image, if there was one.
        queue_s: As the server says.
        served_s: From submission to the last picture, as the server says.
        digests: SHA-256 of each picture's pixels.
    """

    ask: Ask
    outcome: Outcome
    status: int
    total_s: float
    exchange_s: float = 0.0
    first_partial_s: float | None = None
    queue_s: float | None = None
    served_s: float | None = None
    digests: tuple[str, ...] = field(default=())


class Client:
    """Sends requests to one server, each over a connection of its own."""

    def __init__(self, url: str, *, key: str | None = None, timeout_s: float = 600) -> None:
        self._netloc, self._timeout_s = urlsplit(url).netloc, timeout_s
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def send(self, ask: Ask, begin_s: float) -> Answer:
        """Send a request, and read its answer to the end.

        Args:
            ask: The request.
            begin_s: When the whole run began, on the monotonic clock.

        Raises:
            OSError: The server cannot be reached, or does not answer in time.
        """
        intended, sent = begin_s + ask.after_s, time.monotonic()
        timeout = self._timeout_s if ask.leave_after_s is None else ask.leave_after_s
        connection = http.client.HTTPConnection(self._netloc, timeout=timeout)
        try:
            connection.request("POST", _PATH, json.dumps(ask.body), self._headers)
            answer = connection.getresponse()
            streamed = bool(ask.body.get("stream")) and answer.status == 200
            pieces = list(_timed(answer)) if streamed else [(answer.read(), 0.0)]
            now = time.monotonic()
        except TimeoutError:
            if ask.leave_after_s is None:
                raise
            return Answer(
                ask=ask, outcome="cancelled", status=0, total_s=time.monotonic() - intended
            )
        finally:
            connection.close()
        # Reading is over: what the answer says is looked at outside of its time.
        facts = _read_stream(pieces, intended) if streamed else _read(answer.status, pieces[0][0])
        return Answer(ask=ask, total_s=now - intended, exchange_s=now - sent, **facts)


def digest(image: Image.Image) -> str:
    """Return the SHA-256 of a picture's pixels."""
    return hashlib.sha256(np.asarray(image.convert("RGB")).tobytes()).hexdigest()


def _timed(answer: http.client.HTTPResponse) -> Iterator[tuple[bytes, float]]:
    """Yield the lines of a stream, and when each came."""
    for line in answer:
        yield line, time.monotonic()


def _read(status: int, body: bytes) -> dict[str, Any]:
    if status != 200:
        return {"outcome": _outcome(status), "status": status}
    data = json.loads(body)
    return _finished(data["data"], data["timings"])


def _read_stream(lines: Sequence[tuple[bytes, float]], intended: float) -> dict[str, Any]:
    first: float | None = None
    pictures, timings = [], {}
    for line, came_s in lines:
        if not line.startswith(b"data: "):
            continue
        event = json.loads(line[6:])
        if "error" in event:
            return {"outcome": "failed", "status": 200}
        if event["type"].endswith("partial_image"):
            first = first or came_s - intended
        elif event["type"].endswith("completed"):
            pictures.append(event)
            timings = event["timings"]
    if not pictures:
        return {"outcome": "failed", "status": 200}
    return _finished(pictures, timings) | {"first_partial_s": first}


def _finished(pictures: list[dict[str, Any]], timings: Mapping[str, float]) -> dict[str, Any]:
    return {
        "outcome": "finished",
        "status": 200,
        "queue_s": timings["queue_ms"] / 1e3,
        "served_s": timings["total_ms"] / 1e3,
        "digests": tuple(_digest_of(picture["b64_json"]) for picture in pictures),
    }


def _digest_of(data: str) -> str:
    return digest(Image.open(io.BytesIO(base64.b64decode(data))))


def _outcome(status: int) -> Outcome:
    if status in (429, 503):
        return "rejected"
    return "refused" if status < 500 else "failed"
