"""Bodies of requests, counted while they come in: each one, and all together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

_WITH_PICTURES = frozenset({"/v1/images/edits", "/sdapi/v1/img2img", "/sdapi/v1/png-info"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyLimits:
    """How large bodies may be, in bytes.

    Attributes:
        plain_bytes: Of a request that brings no picture.
        picture_bytes: Of one that does.
        together_bytes: Of all requests that are open.
    """

    plain_bytes: int = 1_000_000
    picture_bytes: int = 20_000_000
    together_bytes: int = 400_000_000

    def of(self, path: str) -> int:
        """Return the limit of requests to a path."""
        return self.picture_bytes if path in _WITH_PICTURES else self.plain_bytes


class Bodies:
    """Counts the bodies that a server holds. For one event loop."""

    def __init__(self, limits: BodyLimits) -> None:
        self._limits, self._held = limits, 0

    def too_large(self, path: str, length: str) -> str | None:
        """Return what is wrong with a Content-Length, if anything is."""
        limit = self._limits.of(path)
        return _message(limit) if length.isdecimal() and int(length) > limit else None

    @contextmanager
    def counted(self, path: str, receive: Receive) -> Iterator[Receive]:
        """Return what receives a body, whatever its headers say, and count it during the block.

        What is returned raises HTTPException: 413 for a body that is too large, 429 where all
        bodies together are.
        """
        limit, read = self._limits.of(path), 0

        async def receiving() -> Message:
            nonlocal read
            message = await receive()
            read += (new := len(message.get("body", b"")))
            self._held += new
            if read > limit:
                raise HTTPException(413, _message(limit))
            if self._held > self._limits.together_bytes:
                told = f"Requests hold {self._limits.together_bytes} bytes already. Retry in 1 s."
                raise HTTPException(429, told, {"Retry-After": "1"})
            return message

        try:
            yield receiving
        finally:
            self._held -= read


def _message(limit: int) -> str:
    return f"The body is larger than {limit} bytes, and may not be."
