"""What a service does when bundles come and go."""

from __future__ import annotations

import threading

from sdopt.pipeline import Pipeline
from sdopt.serve.batcher import Batcher
from sdopt.serve.engine_thread import EngineThread
from sdopt.serve.meters import Meters


class ModelSwitches:
    """Counts bundles that come and go, and lets go of the loops of one that leaves."""

    def __init__(self, engine: EngineThread, meters: Meters) -> None:
        self._engine, self._meters = engine, meters

    def loaded(self, name: str, pipeline: Pipeline, seconds: float) -> None:
        """Count a bundle that was loaded."""
        self._meters.load(name, seconds)
        if pipeline.step_times is not None:
            self._meters.unet(name, pipeline.step_times.seconds)

    def leaving(self, name: str) -> None:
        """Free the loops of a bundle between two steps, and wait for that: they hold its UNet."""
        self._meters.evictions.labels(name).inc()
        done = threading.Event()

        def forget(batcher: Batcher) -> None:
            batcher.forget(name)
            done.set()

        self._engine.call(forget)
        while self._engine.alive and not done.wait(1.0):
            pass
