"""Keys, hosts, bodies, health, metrics and logs of a real server."""

from __future__ import annotations

import base64
import contextlib
import http.client
import itertools
import json
import logging
import re
import select
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from prometheus_client.metrics import MetricWrapperBase

from sdopt.pipeline import Pipeline
from sdopt.serve.http.bodies import BodyLimits
from sdopt.serve.http.guards import Guards
from sdopt.serve.http.server import JsonLines
from sdopt.serve.limits import Limits
from sdopt.serve.meters import Meters
from sdopt.serve.service import PictureService
from tests.conftest import ROOT
from tests.serve.conftest import Running, run_server

PATH = "/v1/images/generations"


@pytest.fixture(scope="module")
def locked(pipeline: Pipeline) -> Iterator[Running]:
    guards = Guards(
        api_keys=("first", "second"),
        bodies=BodyLimits(plain_bytes=5000, picture_bytes=20000, together_bytes=30000),
    )
    yield from run_server(PictureService({"shapes": pipeline}, Limits()), guards)


def ask(
    running: Running, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, Any, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection(urlsplit(running.url).netloc, timeout=30)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        data = answer.read().decode()
        kind = answer.headers.get_content_type()
        return answer.status, json.loads(data) if "json" in kind else data, answer.headers
    finally:
        connection.close()


@pytest.mark.parametrize(
    "key", [None, "", "Bearer", "Bearer third", "Basic !!", "Basic Zmlyc3Q=", "Bearer first x"]
)
def test_a_wrong_key_is_refused(locked: Running, key: str | None) -> None:
    headers = {} if key is None else {"Authorization": key}
    status, body, _ = ask(locked, "GET", "/v1/models", **headers)
    assert status == 401
    assert body["error"]["message"] == (
        "The API key is missing or wrong. Send it as: Authorization: Bearer KEY"
    )


@pytest.mark.parametrize(
    "key", ["Bearer first", "bearer second", f"Basic {base64.b64encode(b'me:first').decode()}"]
)
def test_any_right_key_will_do(locked: Running, key: str) -> None:
    assert ask(locked, "GET", "/v1/models", Authorization=key)[0] == 200


def test_the_page_and_health_need_no_key_and_metrics_do(locked: Running) -> None:
    assert ask(locked, "GET", "/")[0] == 200
    assert ask(locked, "GET", "/health/live")[:2] == (200, {"status": "live"})
    assert ask(locked, "GET", "/health/ready")[1]["status"] == "ready"
    assert ask(locked, "GET", "/metrics")[0] == 401


def test_another_host_name_is_refused(server: Running) -> None:
    status, body, _ = ask(server, "GET", "/v1/models", Host="evil.example")
    assert status == 421
    assert body["error"]["message"] == (
        "This server answers to localhost only. See --host and --api-keys."
    )


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_refused(locked: Running, chunked: bool) -> None:
    body: Any = (b"x" * 100 for _ in range(60)) if chunked else b"x" * 6000
    status, answer, _ = ask(
        locked, "POST", PATH, body, Authorization="Bearer first",
        **{"Content-Type": "application/json"},
    )  # fmt: skip
    assert status == 413
    assert answer["error"]["message"] == "The body is larger than 5000 bytes, and may not be."


def pour(running: Running, path: str, *, chunked: bool) -> int:
    """Send 100 MB, or as much as is taken, and return the status that comes back."""
    size, piece = 100_000_000, b"x" * 500_000
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    form = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    parts = itertools.chain([form], itertools.repeat(piece, size // len(piece)))
    address = urlsplit(running.url)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), 30) as to:
        kind = "multipart/form-data; boundary=b" if path.endswith("edits") else "application/json"
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{length}\r\n\r\n"
        )
        to.sendall(head.encode())
        with contextlib.suppress(ConnectionError):  # the server need not listen to the end
            for part in parts:
                if select.select([to], [], [], 0)[0]:
                    break
                to.sendall(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
        return int(to.makefile("rb").readline().split()[1])


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("path", "status"),
    [(PATH, 413), ("/v1/images/edits", 413), ("/sdapi/v1/img2img", 413), ("/v1/nothing", 404)],
)
def test_a_hundred_megabytes_are_neither_read_nor_kept(
    server: Running, path: str, status: int, chunked: bool
) -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    assert pour(server, path, chunked=chunked) in (status, 413)
    assert process.memory_info().rss - before < 60_000_000  # a picture's body may have 20 MB


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{", "The body is not JSON: Expecting property name enclosed in double quotes."),
        ("[]", None),
        ("{}", "prompt is missing, and is required."),
        ('{"prompt": 5}', "prompt: Input should be a valid string."),
        ('{"prompt": "x", "seed": 1.5}', None),
        ('{"prompt": "x", "guidance_scale": NaN}', None),
        ('{"prompt": "\\ud800"}', None),
    ],
)
def test_bad_bodies(server: Running, body: str, message: str | None) -> None:
    status, answer, _ = ask(server, "POST", PATH, body, **{"Content-Type": "application/json"})
    assert status == 400
    if message:
        assert answer["error"]["message"] == message


def test_errors_have_the_form_of_their_api(server: Running) -> None:
    assert ask(server, "GET", "/v1/nothing")[1]["error"] == {
        "message": "GET /v1/nothing: Not Found.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    status, body, _ = ask(server, "POST", "/sdapi/v1/nothing", "{}")
    assert (status, body["detail"]) == (404, "POST /sdapi/v1/nothing: Not Found.")


def test_requests_are_named_counted_and_logged(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="sdopt.access"):
        _, _, headers = ask(server, "GET", "/v1/models", **{"X-Request-Id": "mine-1"})
        assert headers["x-request-id"] == "mine-1"
        _, _, headers = ask(server, "GET", "/v1/models", **{"X-Request-Id": "not\tmine"})
        assert len(headers["x-request-id"]) == 16
        _, text, _ = ask(server, "GET", "/metrics")
    assert 'sdopt_requests_total{route="/v1/models",status="200"}' in text
    assert "sdopt_queue_depth 0.0" in text
    record = next(r for r in caplog.records if getattr(r, "request_id", "") == "mine-1")
    line = json.loads(JsonLines().format(record))
    assert line["message"] == "GET /v1/models 200"
    assert line["request_id"] == "mine-1"
    assert line["ms"] > 0


def test_the_documents_name_every_meter() -> None:
    page = (ROOT / "docs" / "serving.md").read_text()
    told = re.findall(r"^\| `(sdopt_\w+)(?:\{(.*)\})?` ", page, re.MULTILINE)
    meters = [meter for meter in vars(Meters()).values() if isinstance(meter, MetricWrapperBase)]
    served = {
        meter._name + ("_total" if meter._type == "counter" else ""): ",".join(meter._labelnames)
        for meter in meters
    }
    assert dict(told) == served


def test_the_docs_load_nothing_from_elsewhere(server: Running) -> None:
    status, page, headers = ask(server, "GET", "/docs")
    assert status == 200
    assert "/v1/images/generations" in page
    assert "subseed_strength" in page
    assert "http" not in page.replace("http-equiv", "")
    assert headers["content-security-policy"].startswith("default-src 'none'")
