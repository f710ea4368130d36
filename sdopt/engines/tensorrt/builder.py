"""From an ONNX graph to a plan, through Polygraphy's loaders. Runs in a process of its own.

Networks are strongly typed: what the graph says is what is computed, and no precision is ever asked
for here.
"""

from __future__ import annotations

import io
import os
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from sdopt.engines.built_engine import Report
from sdopt.engines.tensorrt import api
from sdopt.engines.tensorrt.api import trt
from sdopt.engines.tensorrt.job import BuildJob
from sdopt.engines.tensorrt.profiles import Profile
from sdopt.engines.tensorrt.progress import monitor
from sdopt.errors import BuildMemoryError, EngineBuildError, MissingDependencyError

_OUT_OF_MEMORY = ("outofmemory", "out of memory", "insufficient workspace", "failed_allocation")
_KEPT_LINES = 5


def build_plan(job: BuildJob, report: Report) -> None:
    """Build a plan and write it.

    Raises:
        BuildMemoryError: The GPU's memory does not suffice.
        EngineBuildError: TensorRT refuses the graph, or cannot build it.
        MissingDependencyError: Polygraphy or TensorRT is not installed.
        OSError: The plan cannot be written.
    """
    api.library()
    polygraphy = _polygraphy()
    said = io.StringIO()
    Path(job.timing_cache).parent.mkdir(parents=True, exist_ok=True)
    try:
        with redirect_stdout(said):
            plan = _build(job, report)
    except polygraphy.PolygraphyException as error:
        words = _errors(said.getvalue()) or str(error)
        if any(sign in words.lower() for sign in _OUT_OF_MEMORY):
            raise BuildMemoryError(job.component, words, [job.optimization_level]) from error
        raise EngineBuildError(job.component, words) from error
    with Path(job.plan).open("wb") as file:
        file.write(memoryview(plan))


def _build(job: BuildJob, report: Report) -> trt.IHostMemory:
    from polygraphy.backend.trt import (
        CreateConfig,
        engine_bytes_from_network,
        network_from_onnx_path,
    )

    network = network_from_onnx_path(job.onnx, flags=_parser_flags(job), strongly_typed=True)
    config = CreateConfig(
        tf32=job.precision != "fp32",
        profiles=[_profile(profile) for profile in job.profiles],
        builder_optimization_level=job.optimization_level,
        memory_pool_limits=_limits(job),
        load_timing_cache=job.timing_cache if os.path.exists(job.timing_cache) else None,  # noqa: PTH110
        progress_monitor=monitor(report),
        refittable=job.refit,
        strip_plan=job.strip,
        version_compatible=job.version_compatible,
        weight_streaming=job.weight_streaming,
    )
    plan: trt.IHostMemory = engine_bytes_from_network(
        network, config=config, save_timing_cache=job.timing_cache
    )
    return plan


def _parser_flags(job: BuildJob) -> list[trt.OnnxParserFlag] | None:
    """Ask for what plans that outlive their version need: a norm without a plugin."""
    return [trt.OnnxParserFlag.NATIVE_INSTANCENORM] if job.version_compatible else None


def _limits(job: BuildJob) -> dict[trt.MemoryPoolType, int] | None:
    if job.workspace_bytes is None:
        return None
    return {trt.MemoryPoolType.WORKSPACE: job.workspace_bytes}


def _profile(profile: Profile) -> Any:
    from polygraphy.backend.trt import Profile as PolygraphyProfile

    made = PolygraphyProfile()
    for name, held in profile.ranges.items():
        made.add(name, min=held.min, opt=held.opt, max=held.max)
    return made


def _polygraphy() -> Any:
    try:
        from polygraphy import exception
        from polygraphy.logger import G_LOGGER
    except ImportError as error:
        raise MissingDependencyError("polygraphy", "tensorrt") from error
    G_LOGGER.module_severity = G_LOGGER.ERROR
    return exception


def _errors(said: str) -> str:
    """Return the last errors that TensorRT logged through Polygraphy, which prints them."""
    lines = [line.partition("[E]")[2].strip() for line in said.splitlines() if "[E]" in line]
    return "; ".join(line for line in lines[-_KEPT_LINES:] if line)
