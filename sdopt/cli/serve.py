"""``sdopt serve``: bundles over HTTP."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from sdopt.cli.engine_options import choosing_engine
from sdopt.cli.fixed_size_option import fixed_size_option
from sdopt.engines.options import EngineOptions
from sdopt.engines.size_bucket import SizeBucket
from sdopt.errors import InvalidValueError, MissingDependencyError

if TYPE_CHECKING:
    from sdopt.serve.http.server import Address
    from sdopt.serve.run import Settings


class Bytes(click.ParamType[int]):
    """A number of bytes, with a unit."""

    name = "size"
    _UNITS: Final = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "MB": 10**6, "GB": 10**9, "": 1}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the bytes that a text such as ``1.5GiB`` means."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)", value)
        if not match or match[2] not in self._UNITS:
            self.fail(f"{value!r} is no size. Write for instance 12GiB or 800MB.", param, ctx)
        return int(float(match[1]) * self._UNITS[match[2]])


@click.command("serve")
@click.argument("bundles", metavar="BUNDLE…", nargs=-1, required=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Another needs --api-keys.")
@click.option("--port", default=7860, show_default=True, help="0 lets the system choose.")
@choosing_engine
@fixed_size_option
@click.option(
    "--threads", type=click.IntRange(1), help="Of each operator.  [default: one per core]"
)
@click.option(
    "--max-rows",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Pictures denoised at the same time.",
)
@click.option(
    "--memory",
    "memory_bytes",
    type=Bytes(),
    help="What the loaded bundles may take together, such as 12GiB; they are then loaded when "
    "asked for, and the least recently used leaves.  [default: all are loaded, and stay]",
)
@click.option(
    "--queue",
    "max_waiting",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Requests that wait at most; one more is refused with 429.",
)
@click.option(
    "--api-keys",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with one key per line.  [default: SDOPT_API_KEYS, separated by commas]",
)
@click.option(
    "--drain-timeout",
    "drain_timeout_s",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    help="Seconds that SIGTERM leaves to what runs.",
)
@click.option(
    "--ray",
    "on_ray",
    is_flag=True,
    help="The OpenAI API on Ray Serve: the cluster of RAY_ADDRESS, or one on this machine.",
)
@click.option(
    "--replicas",
    type=(click.IntRange(1), click.IntRange(1)),
    default=(1, 1),
    show_default=True,
    metavar="LEAST MOST",
    help="With --ray: how many servers, by how much there is to do.",
)
@click.option("--num-cpus", type=float, default=1.0, show_default=True, help="Of a replica.")
@click.option("--num-gpus", type=float, default=0.0, show_default=True, help="Of a replica.")
def command(
    *,
    bundles: tuple[str, ...],
    host: str,
    port: int,
    engine_options: EngineOptions,
    fixed_size: SizeBucket | None,
    on_ray: bool,
    replicas: tuple[int, int],
    num_cpus: float,
    num_gpus: float,
    **options: Any,
) -> None:
    """Serve each BUNDLE, by its folder's name, over the OpenAI and AUTOMATIC1111 APIs."""
    try:
        from sdopt.serve.http.server import Address, log_as_json
        from sdopt.serve.run import Settings, serve
    except ModuleNotFoundError as error:
        raise MissingDependencyError(str(error.name), "serve") from error

    _check_fleet(click.get_current_context().params)
    address, keys = Address(host=host, port=port), _keys(options.pop("api_keys"))
    if not address.loopback and not keys:
        hint = "Give --api-keys, or SDOPT_API_KEYS"
        raise InvalidValueError("host", host, "127.0.0.1 where there are no API keys", hint)
    settings = Settings(
        api_keys=keys,
        device=engine_options.device,
        precision=engine_options.precision,
        batching=engine_options.batching,
        fixed_size=fixed_size,
        **options,
    )
    log_as_json()
    if on_ray:
        _serve_on_ray(bundles, address, settings, replicas=replicas, cpus=num_cpus, gpus=num_gpus)
    else:
        serve(bundles, address, settings)


def _serve_on_ray(
    bundles: tuple[str, ...],
    address: Address,
    settings: Settings,
    *,
    replicas: tuple[int, int],
    cpus: float,
    gpus: float,
) -> None:
    try:
        from sdopt.serve.ray import Fleet, serve_on_ray
    except ModuleNotFoundError as error:
        raise MissingDependencyError(str(error.name), "ray") from error

    least, most = replicas
    fleet = Fleet(min_replicas=least, max_replicas=most, num_cpus=cpus, num_gpus=gpus)
    serve_on_ray(bundles, address, settings, fleet)


def _check_fleet(options: Mapping[str, Any]) -> None:
    """Refuse options of replicas where there are none, and ends that are the wrong way round."""
    context = click.get_current_context()
    for name in ("replicas", "num_cpus", "num_gpus"):
        given = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        if given and not options["on_ray"]:
            raise InvalidValueError(name, options[name], "not given without --ray")
    least, most = options["replicas"]
    if least > most:
        raise InvalidValueError("replicas", f"{least} {most}", "the least and then the most")


def _keys(file: Path | None) -> tuple[str, ...]:
    if file is not None:
        lines = file.read_text(encoding="utf-8").splitlines()
    else:
        lines = os.environ.get("SDOPT_API_KEYS", "").split(",")
    keys = tuple(line.strip() for line in lines if line.strip())
    if file is not None and not keys:
        raise InvalidValueError("api_keys", str(file), "a file with at least one key")
    return keys
