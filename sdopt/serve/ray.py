"""Past one machine: the OpenAI API, health and metrics on Ray Serve.

A YAML file with ``import_path: sdopt.serve.ray:app`` and ``sdopt serve BUNDLE --ray`` both build
the application that :func:`app` returns. A replica is a whole server without a socket: requests
join and leave its batch at any step.
"""

# Ray reads the annotation of `app` as a class: this module cannot postpone its annotations.

import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import ray
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve.config import AutoscalingConfig, BackpressureConfig

from sdopt.engines.options import Batching
from sdopt.engines.size_bucket import SizeBucket
from sdopt.errors import EngineError
from sdopt.serve.heaps import limit_heaps
from sdopt.serve.http.app import create_app
from sdopt.serve.http.guards import Guards
from sdopt.serve.http.server import Address, log_as_json
from sdopt.serve.run import Settings, started

_NAME = "sdopt"
_SPARE = 32
"""Requests beyond those that a replica takes on, which it answers with its own 429."""
_OBJECT_STORE_BYTES = 100_000_000
"""Pictures do not go through it: they are answers, and Ray sends those by itself."""


class Fleet(BaseModel):
    """How many replicas there are, and what each may use.

    Attributes:
        min_replicas: At least so many; 1 or more, because loading takes longer than clients wait.
        max_replicas: At most so many. More are started while each has more than its rows to do.
        num_cpus: What Ray sets aside for each.
        num_gpus: Likewise; a share of one will do for several on one GPU.
    """

    model_config = ConfigDict(extra="forbid")

    min_replicas: Annotated[int, Field(ge=1)] = 1
    max_replicas: Annotated[int, Field(ge=1)] = 1
    num_cpus: Annotated[float, Field(ge=0)] = 1.0
    num_gpus: Annotated[float, Field(ge=0)] = 0.0


class ClusterSettings(Fleet):
    """The arguments of the application, as a YAML file says them.

    API keys are read where replicas run, from SDOPT_API_KEYS, so that no file holds them.

    Attributes:
        bundles: Folders that every node has, or names of carried models.
        engine: What runs them.
        device: Where.
        precision: What to compute in; None for the engine's fastest.
        batching: On a GPU, ``exact`` for the same picture in any company, or ``fast``.
        fixed_size: Of all pictures, such as ``512x512``, which OpenVINO is then compiled for.
        threads: Of each operator; None for as many as ``num_cpus``.
        max_rows: Pictures that a replica denoises at the same time.
        max_waiting: Requests that wait at a replica; one more is answered with 429.
        memory_bytes: What a replica's loaded bundles may take together; None for all of them.
        drain_timeout_s: What a replica that has to leave has for the requests that it has begun.
        any_host: Whether to answer whatever the Host header says where there are no API keys: only
            behind a gateway that asks for keys itself.
    """

    bundles: Annotated[list[str], Field(min_length=1)]
    engine: str = "onnxruntime"
    device: str = "cpu"
    precision: str | None = None
    batching: Batching = "exact"
    fixed_size: str | None = None
    threads: Annotated[int, Field(ge=1)] | None = None
    max_rows: Annotated[int, Field(ge=1)] = 8
    max_waiting: Annotated[int, Field(ge=1)] = 16
    memory_bytes: int | None = None
    drain_timeout_s: float = 60.0
    any_host: bool = False

    @property
    def settings(self) -> Settings:
        """How one replica is run."""
        keys, size = os.environ.get("SDOPT_API_KEYS", "").split(","), self.fixed_size
        return Settings(
            engine=self.engine,
            device=self.device,
            precision=self.precision,
            batching=self.batching,
            fixed_size=None if size is None else SizeBucket.parse(size, "fixed_size"),
            threads=self.threads or max(1, int(self.num_cpus)),
            max_rows=self.max_rows,
            max_waiting=self.max_waiting,
            api_keys=tuple(key.strip() for key in keys if key.strip()),
            drain_timeout_s=self.drain_timeout_s,
            memory_bytes=self.memory_bytes,
        )


@serve.ingress()
class Replica:
    """One server of several behind Ray's proxies."""

    def __init__(self, cluster: ClusterSettings) -> None:
        """Load the bundles, and warm up."""
        log_as_json()
        limit_heaps()
        self._cluster, self._settings = cluster, cluster.settings
        self._service = started(cluster.bundles, self._settings)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return what answers the requests that Ray passes on."""
        keys = self._settings.api_keys
        loopback_only = not keys and not self._cluster.any_host
        guards = Guards(api_keys=keys, loopback_only=loopback_only)
        return create_app(self._service, guards, one_of_many=True)

    def check_health(self) -> None:
        """Fail where the engine thread has: Ray then starts another replica.

        Raises:
            EngineError: The engine thread has stopped.
        """
        if not self._service.alive:
            raise EngineError("The engine thread of this replica has stopped.")

    def __del__(self) -> None:
        """Finish what has begun; Ray calls this when it has waited for the open requests."""
        self._service.drain(self._settings.drain_timeout_s)
        self._service.close()


_REPLICA = serve.deployment(Replica)


def app(cluster: ClusterSettings) -> serve.Application:
    """Return the application, to be run by Ray Serve.

    What a replica cannot take on it answers itself, with 429 and the time that the work before it
    takes. Ray's own answer, for what it holds back beyond that, would be 503: it is told to say 429
    as well.
    """
    deployment = _REPLICA.options(
        name=_NAME,
        ray_actor_options={"num_cpus": cluster.num_cpus, "num_gpus": cluster.num_gpus},
        max_ongoing_requests=cluster.max_rows + cluster.max_waiting + _SPARE,
        max_queued_requests=cluster.max_waiting * cluster.max_replicas,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=1),
        autoscaling_config=AutoscalingConfig(
            min_replicas=cluster.min_replicas,
            max_replicas=cluster.max_replicas,
            target_ongoing_requests=cluster.max_rows,
        ),
        graceful_shutdown_timeout_s=cluster.drain_timeout_s + 5,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=5,
    )
    return deployment.bind(cluster)


def serve_on_ray(
    bundles: Sequence[str], address: Address, settings: Settings, fleet: Fleet
) -> None:
    """Run the application on the cluster of RAY_ADDRESS, or on this machine, until a signal comes.

    On this machine it is a cluster that ends with this process. Its dashboard is never started.
    """
    cluster = ClusterSettings(
        bundles=[str(Path(one).resolve()) if Path(one).exists() else one for one in bundles],
        engine=settings.engine,
        device=settings.device,
        precision=settings.precision,
        batching=settings.batching,
        fixed_size=None if settings.fixed_size is None else str(settings.fixed_size),
        threads=settings.threads,
        max_rows=settings.max_rows,
        max_waiting=settings.max_waiting,
        memory_bytes=settings.memory_bytes,
        drain_timeout_s=settings.drain_timeout_s,
        **fleet.model_dump(),
    )
    ended = threading.Event()
    start_ray(address, keys=settings.api_keys)
    # After Ray's own handler, which would abort a process that has not ended 3 s after SIGTERM.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        serve.run(app(cluster), name=_NAME, route_prefix="/")
        ended.wait()
    finally:
        serve.delete(_NAME)
        serve.shutdown()
        ray.shutdown()


def start_ray(address: Address, keys: Sequence[str] = ()) -> None:
    """Connect to the cluster of RAY_ADDRESS, or start one here, with a proxy at an address."""
    variables = {"SDOPT_API_KEYS": ",".join(keys)} if keys else {}
    here: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    ray.init(
        log_to_driver=False,
        runtime_env={"env_vars": variables},
        **({} if "RAY_ADDRESS" in os.environ else here),
    )
    serve.start(http_options={"host": address.host, "port": address.port})
