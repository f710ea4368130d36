"""What every request passes: an id, a log line, a key, a host, and a limit on its body."""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sdopt.serve.http.bodies import Bodies, BodyLimits
from sdopt.serve.http.errors import answer
from sdopt.serve.meters import Meters

_log = logging.getLogger("sdopt.access")
_OPEN_PATHS = frozenset({"/", "/health/live", "/health/ready"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """What is asked of a request.

    Attributes:
        api_keys: One of them must be sent, if there are any; the page and health need none.
        loopback_only: Whether the Host header must name this machine, against web pages that
            have their own name point here.
        bodies: How large bodies may be.
    """

    api_keys: tuple[str, ...] = ()
    loopback_only: bool = True
    bodies: BodyLimits = field(default_factory=BodyLimits)


class GuardMiddleware:
    """Applies guards, names and logs every request. Plain ASGI: streams pass through it."""

    def __init__(self, app: ASGIApp, *, guards: Guards, meters: Meters) -> None:
        self._app, self._guards, self._meters = app, guards, meters
        self._bodies = Bodies(guards.bodies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers.get("x-request-id", ""))
        scope["sdopt_request_id"] = request_id
        begin, status = time.perf_counter(), 499

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        try:
            await self._admit(scope, headers, receive, sending)
        finally:
            self._record(scope, status, (time.perf_counter() - begin) * 1e3)

    async def _admit(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        path = scope["path"]
        refusal = self._refusal(path, headers)
        if refusal is None:
            with self._bodies.counted(path, receive) as receiving:
                await self._app(scope, receiving, send)
            return
        response = answer(path, refusal[1], refusal[0])
        response.headers["Connection"] = "close"
        await response(scope, receive, send)

    def _refusal(self, path: str, headers: Headers) -> tuple[int, str] | None:
        guards, length = self._guards, headers.get("content-length", "0")
        host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
        if guards.loopback_only and host not in _LOOPBACK:
            return 421, "This server answers to localhost only. See --host and --api-keys."
        if guards.api_keys and path not in _OPEN_PATHS and not self._has_key(headers):
            return 401, "The API key is missing or wrong. Send it as: Authorization: Bearer KEY"
        too_large = self._bodies.too_large(path, length)
        return None if too_large is None else (413, too_large)

    def _has_key(self, headers: Headers) -> bool:
        return _is_one_of(_key(headers.get("authorization", "")), self._guards.api_keys)

    def _record(self, scope: Scope, status: int, spent_ms: float) -> None:
        route = getattr(scope.get("route"), "path_format", "none")
        self._meters.requests.labels(route, str(status)).inc()
        _log.info(
            "%s %s %d",
            scope["method"],
            scope["path"],
            status,
            extra={"request_id": scope["sdopt_request_id"], "ms": round(spent_ms, 2)},
        )


def _request_id(sent: str) -> str:
    return sent if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", sent) else secrets.token_hex(8)


def _key(authorization: str) -> str:
    """Return the key of a Bearer header, or the password of a Basic one."""
    scheme, _, value = authorization.partition(" ")
    if scheme.casefold() == "bearer":
        return value.strip()
    if scheme.casefold() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def _is_one_of(key: str, keys: Sequence[str]) -> bool:
    """Compare with every key, in a time that tells nothing about them."""
    found = [hmac.compare_digest(key.encode(), known.encode()) for known in keys]
    return any(found)
