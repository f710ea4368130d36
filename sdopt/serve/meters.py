"""What a server counts, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Meters:
    """The server's counters, in a registry of their own. Safe for use from several threads."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.jobs = Counter(
            "sdopt_jobs", "Jobs that have ended", ["model", "outcome"], registry=registry
        )
        self.requests = Counter(
            "sdopt_requests", "HTTP requests", ["route", "status"], registry=registry
        )
        self.rejected = Counter("sdopt_rejected", "Orders refused", ["reason"], registry=registry)
        self.cancelled = Counter("sdopt_cancelled", "Jobs cancelled", ["phase"], registry=registry)
        self.queue_depth = Gauge("sdopt_queue_depth", "Jobs without a row yet", registry=registry)
        self.rows_running = Gauge("sdopt_rows_running", "Rows being denoised", registry=registry)
        self.first_partial = Histogram(
            "sdopt_time_to_first_partial_seconds",
            "Time from submission to the first preview, of jobs that have any",
            buckets=_SECONDS,
            registry=registry,
        )
        self.evictions = Counter(
            "sdopt_model_evictions", "Models that have left", ["model"], registry=registry
        )
        self.model_loaded = Gauge(
            "sdopt_model_loaded", "Whether a model is loaded", ["model"], registry=registry
        )
        self.load_waiting = Gauge(
            "sdopt_model_waiting", "Requests that wait for their model", registry=registry
        )
        self._load = Histogram(
            "sdopt_model_load_seconds",
            "Time to load a model",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._unet = Gauge(
            "sdopt_unet_seconds",
            "Time of a UNet call of so many rows, as measured when the model was loaded",
            ["model", "rows"],
            registry=registry,
        )
        self._batch = Histogram(
            "sdopt_step_batch_rows", "UNet rows of a step", buckets=range(1, 33), registry=registry
        )
        self._step = Histogram(
            "sdopt_step_seconds",
            "Time of a step",
            ["latents"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._stage = Histogram(
            "sdopt_stage_seconds",
            "Time of a stage of a job",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )

    def step(self, batch: int, latents: str, seconds: float) -> None:
        """Count one step of so many UNet rows of latents of this size."""
        self._batch.observe(batch)
        self._step.labels(latents).observe(seconds)

    def load(self, model: str, seconds: float) -> None:
        """Count a model that was loaded."""
        self._load.labels(model).observe(seconds)

    def unet(self, model: str, seconds: Mapping[int, float]) -> None:
        """Note what a model's UNet takes, by rows."""
        for rows, each in seconds.items():
            self._unet.labels(model, str(rows)).set(each)

    def stage(self, name: str, seconds: float) -> None:
        """Count one stage of a job."""
        self._stage.labels(name).observe(seconds)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the block as a stage of a job."""
        begin = time.perf_counter()
        yield
        self.stage(stage, time.perf_counter() - begin)
