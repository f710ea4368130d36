"""A real server on loopback."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import sdopt
from sdopt.pipeline import Pipeline
from sdopt.serve.http.app import create_app
from sdopt.serve.http.guards import Guards
from sdopt.serve.http.server import Address, Server
from sdopt.serve.limits import Limits
from sdopt.serve.service import PictureService
from tests.cli.conftest import cli

__all__ = ["cli"]


@dataclass(frozen=True)
class Running:
    """A server that runs in this process, on a port of its own."""

    service: PictureService
    url: str


@pytest.fixture(scope="session")
def pipeline() -> Pipeline:
    """A pipeline for the services' threads; the session's own one stays with the tests."""
    return sdopt.load("shapes")


def run_server(service: PictureService, guards: Guards | None = None) -> Iterator[Running]:
    """Serve over uvicorn in a thread until the generator is closed."""
    server = Server(create_app(service, guards), Address(port=0), service, 10)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield Running(service, f"http://127.0.0.1:{server.port}")
    service.close()
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def server(pipeline: Pipeline) -> Iterator[Running]:
    """The carried model, served to everybody on this machine."""
    yield from run_server(PictureService({"shapes": pipeline}, Limits(max_rows=4)))
