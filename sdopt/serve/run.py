"""From the names of bundles to a server that runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sdopt.errors import InvalidValueError
from sdopt.pipeline import Pipeline, load
from sdopt.serve.http.app import create_app
from sdopt.serve.http.guards import Guards
from sdopt.serve.http.server import Address, Server
from sdopt.serve.limits import Limits
from sdopt.serve.service import PictureService
from sdopt.serve.warm_up import warm_up

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a server is run; see ``sdopt serve --help``."""

    engine: str = "onnxruntime"
    threads: int | None = None
    max_rows: int = 8
    max_waiting: int = 64
    api_keys: tuple[str, ...] = ()
    drain_timeout_s: float = 60.0


def serve(bundles: Sequence[str], address: Address, settings: Settings) -> None:
    """Load bundles, warm up, and serve until a signal comes."""
    limits = Limits(max_rows=settings.max_rows, max_waiting=settings.max_waiting)
    service = PictureService(_load(bundles, settings), limits)
    try:
        warm_up(service)
        guards = Guards(
            api_keys=settings.api_keys,
            loopback_only=address.loopback,
        )
        app = create_app(service, guards)
        _log.info("Serving %s", ", ".join(service.models))
        Server(app, address, service, settings.drain_timeout_s).run()
    finally:
        service.close()


def _load(bundles: Sequence[str], settings: Settings) -> dict[str, Pipeline]:
    models: dict[str, Pipeline] = {}
    for bundle in bundles:
        name = Path(bundle).resolve().name
        if name in models:
            raise InvalidValueError("BUNDLE", bundle, "one of another folder name than the others")
        models[name] = load(bundle, engine=settings.engine, threads=settings.threads)
    return models
