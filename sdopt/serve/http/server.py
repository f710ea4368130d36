"""uvicorn with an orderly end: SIGTERM refuses new requests, finishes the others, exits 0."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import uvicorn
from fastapi import FastAPI

from sdopt.serve.service import PictureService


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the server listens; port 0 lets the system choose."""

    host: str = "127.0.0.1"
    port: int = 7860

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        return self.host in ("127.0.0.1", "::1", "localhost")


class Server(uvicorn.Server):
    """Serves until SIGTERM or SIGINT; a second signal does not wait for anybody."""

    def __init__(
        self, app: FastAPI, address: Address, service: PictureService, drain_timeout_s: float
    ) -> None:
        config = uvicorn.Config(
            app,
            host=address.host,
            port=address.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
            limit_concurrency=1000,
        )
        super().__init__(config)
        self._service, self._drain_timeout_s = service, drain_timeout_s
        self._signalled = False

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals here; unlike uvicorn's, the process is not killed by them at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        both = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self._on_signal) for number in both}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._signalled:
            self.force_exit = self.should_exit = True
            return
        self._signalled = True
        threading.Thread(target=self._drain, name="sdopt-drain", daemon=True).start()

    def _drain(self) -> None:
        self._service.drain(self._drain_timeout_s)
        self.should_exit = True

    @property
    def port(self) -> int:
        """The port that the server listens on, once it has started."""
        return int(self.servers[0].sockets[0].getsockname()[1])


class JsonLines(logging.Formatter):
    """One JSON object per log record, with the request's id where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in ("request_id", "ms"):
            if hasattr(record, name):
                line[name] = getattr(record, name)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def log_as_json() -> None:
    """Write everything that is logged to stderr, one JSON object per line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
