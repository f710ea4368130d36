"""A hub of one folder on loopback: the few requests that huggingface_hub makes for a model."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class SmallHub:
    """What it serves, and what it was asked for.

    Attributes:
        folder: The files of ``acme/tiny``; ``acme/gated`` wants a token.
        url: Where it listens.
        downloads: (path, first byte) of each file that was asked for.
        cut_after: Bytes after which the next download of a large file breaks off.
    """

    folder: Path
    url: str = ""
    downloads: list[tuple[str, int]] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    cut_after: int | None = None

    @property
    def files(self) -> list[str]:
        paths = sorted(p for p in self.folder.rglob("*") if p.is_file())
        return [path.relative_to(self.folder).as_posix() for path in paths]


@contextmanager
def serving(folder: Path) -> Iterator[SmallHub]:
    """Serve a folder while the block runs."""
    hub = SmallHub(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("ThisHub", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    hub: SmallHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def log_message(self, *_: object) -> None:
        return

    def answer(self, *, body: bool) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        repository = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        token = self.headers.get("Authorization")
        self.hub.tokens.add(token)
        if repository == "acme/gated" and token != "Bearer hf_good":
            self.refuse(403 if token else 401, "GatedRepo")
        elif repository not in ("acme/tiny", "acme/gated"):
            self.refuse(404, "RepoNotFound")
        elif parts[0] == "api":
            self.model(parts[5] if len(parts) > 5 else "main")
        else:
            self.file("/".join(parts[4:]), body=body)

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def model(self, revision: str) -> None:
        if revision not in ("main", "v1", COMMIT):
            self.refuse(404, "RevisionNotFound")
            return
        siblings = [
            {"rfilename": name, "size": (self.hub.folder / name).stat().st_size}
            for name in self.hub.files
        ]
        self.reply(json.dumps({"id": "acme/tiny", "sha": COMMIT, "siblings": siblings}).encode())

    def file(self, name: str, *, body: bool) -> None:
        content = (self.hub.folder / name).read_bytes()
        wanted = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0]
        begin = int(wanted or 0)
        self.send_response(206 if begin else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        if begin:
            last = len(content) - 1
            self.send_header("Content-Range", f"bytes {begin}-{last}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        if body:
            self.hub.downloads.append((name, begin))
            self.send(content[begin:])

    def send(self, content: bytes) -> None:
        cut = self.hub.cut_after
        if cut is not None and len(content) > cut:
            self.hub.cut_after = None
            self.wfile.write(content[:cut])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(content)

    def reply(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
