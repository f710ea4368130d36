"""From the names of bundles to a server that runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sdopt.bundle.bundle import Bundle
from sdopt.engines.catalog import footprint
from sdopt.engines.memory import estimate
from sdopt.engines.options import Batching, EngineOptions
from sdopt.engines.size_bucket import SizeBucket
from sdopt.engines.step_times import StepTimes
from sdopt.errors import InvalidValueError
from sdopt.pipeline import Pipeline, load
from sdopt.serve.claims import Source
from sdopt.serve.heaps import limit_heaps
from sdopt.serve.http.app import create_app
from sdopt.serve.http.guards import Guards
from sdopt.serve.http.server import Address, Server
from sdopt.serve.limits import Limits
from sdopt.serve.service import PictureService
from sdopt.serve.shelf import Shelf
from sdopt.serve.warm_up import warm_up

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a server is run; see ``sdopt serve --help``."""

    engine: str = "onnxruntime"
    device: str = "cpu"
    precision: str | None = None
    batching: Batching = "exact"
    fixed_size: SizeBucket | None = None
    threads: int | None = None
    max_rows: int = 8
    max_waiting: int = 64
    api_keys: tuple[str, ...] = ()
    drain_timeout_s: float = 60.0
    memory_bytes: int | None = None

    @property
    def limits(self) -> Limits:
        """What the server takes on."""
        return Limits(max_rows=self.max_rows, max_waiting=self.max_waiting)

    @property
    def engine_options(self) -> EngineOptions:
        """How the engine is made."""
        return EngineOptions(
            device=self.device,
            precision=self.precision,
            threads=self.threads,
            batching=self.batching,
            fixed_size=self.fixed_size,
        )


def serve(bundles: Sequence[str], address: Address, settings: Settings) -> None:
    """Load bundles, warm up, and serve until a signal comes."""
    limit_heaps()
    service = started(bundles, settings)
    try:
        guards = Guards(api_keys=settings.api_keys, loopback_only=address.loopback)
        app = create_app(service, guards)
        Server(app, address, service, settings.drain_timeout_s).run()
    finally:
        service.close()


def started(bundles: Sequence[str], settings: Settings) -> PictureService:
    """Return a service that is loaded and warm; whoever asked for it closes it.

    Raises:
        SdoptError: A bundle cannot be opened, loaded or run.
    """
    service = PictureService(_shelf(bundles, settings), settings.limits)
    try:
        _load_at_start(service, settings)
        warm_up(service)
    except BaseException:
        service.close()
        raise
    _log.info("Serving %s", ", ".join(service.models.names))
    return service


def _shelf(bundles: Sequence[str], settings: Settings) -> Shelf:
    sources: dict[str, Source] = {}
    for bundle in bundles:
        name = Path(bundle).resolve().name
        if name in sources:
            raise InvalidValueError("BUNDLE", bundle, "one of another folder name than the others")
        opened = Bundle.open(bundle)
        sources[name] = Source(
            bundle=opened,
            needed_bytes=_needed_bytes(opened, settings),
            load=partial(_loaded, bundle, settings),
            fixed_size=settings.fixed_size,
        )
    return Shelf(sources, settings.memory_bytes)


def _loaded(bundle: str, settings: Settings) -> Pipeline:
    """Load a bundle, warm it up and time its UNet. Its largest batch has found memory then."""
    pipeline = load(
        bundle,
        engine=settings.engine,
        device=settings.device,
        batching=settings.batching,
        fixed_size=settings.fixed_size,
        precision=settings.precision,
        max_rows=settings.max_rows,
        threads=settings.threads,
    )
    pipeline.warmup()
    if (times := pipeline.step_times) is not None:
        _log.info("UNet of %s: %s", pipeline.bundle.path.name, _in_words(times))
    return pipeline


def _in_words(times: StepTimes) -> str:
    taken = ", ".join(f"{rows}: {1e3 * s:.1f}" for rows, s in times.seconds.items())
    every = {rows: times.parts(rows) for rows in range(1, max(times.seconds) + 1)}
    cut = [
        f"{rows} as {'+'.join(map(str, parts))}"
        for rows, parts in every.items()
        if parts != (rows,)
    ]
    return f"ms by rows {taken}; cut up: {', '.join(cut) or 'none'}"


def _load_at_start(service: PictureService, settings: Settings) -> None:
    """Load every bundle, or with a limit of memory the default one: a broken one stops here."""
    names = service.models.names
    for name in names if settings.memory_bytes is None else names[:1]:
        claim = service.claim(name)
        claim.pipeline.result()
        service.models.leave(claim)


def _needed_bytes(bundle: Bundle, settings: Settings) -> int:
    """Estimate what a bundle takes with all rows at its own size, the VAE's encoder included.

    Where that was not measured, it is what lies on disk.
    """
    if (taken := footprint(settings.engine, settings.engine_options)) is None:
        return sum(map(bundle.component_bytes, bundle.manifest.components))
    encoder = "vae_encoder" in bundle.manifest.components
    encoder_bytes = bundle.component_bytes("vae_encoder") if encoder else 0
    needed = estimate(bundle, taken, rows=settings.max_rows).needed_bytes
    return needed - int(taken.base_bytes) + int(encoder_bytes * taken.weights)
