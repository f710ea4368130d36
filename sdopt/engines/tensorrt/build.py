"""Building a component's engine into the store, in a process of its own."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.hashing import cache_folder
from sdopt.bundle.reference import ReferencePair, load_reference
from sdopt.engines.build_options import BuildOptions
from sdopt.engines.built_engine import BuiltEngine, Report, SelfTest
from sdopt.engines.cuda.runtime import Gpu, find_gpu
from sdopt.engines.key import EngineKey
from sdopt.engines.size_bucket import SizeBucket
from sdopt.engines.tensorrt import api
from sdopt.engines.tensorrt.backend import ENGINE
from sdopt.engines.tensorrt.job import BuildJob
from sdopt.engines.tensorrt.profiles import Profile, labels, profiles
from sdopt.engines.tensorrt.selftest import with_reference
from sdopt.errors import BuildMemoryError, EngineBuildError, OnnxFolderError
from sdopt.workers.running import Task, running

_log = logging.getLogger("sdopt.engines")
_TOLERANCE_WITHOUT_PARITY = 2e-2


def build_component(
    bundle: Bundle, component: str, options: BuildOptions, report: Report
) -> BuiltEngine:
    """Build the engine of one component, unless the store has it.

    Raises:
        MissingDependencyError: tensorrt, polygraphy or cuda-bindings is not installed.
        ProviderUnavailableError: There is no GPU.
        OnnxFolderError: It is another tool's folder.
        InvalidSizeError: A profile's size is no multiple of the VAE's factor.
        EngineBuildError: TensorRT cannot build it.
        SelfTestError: It does not compute what torch computes.
        EngineStoreError: It cannot be kept.
    """
    if not bundle.sealed:
        problem = "engines are built from bundles, whose files are known by their hashes"
        hint = "Make a bundle of it first: sdopt import FOLDER OUT"
        raise OnnxFolderError(bundle.path, problem, hint)
    api.library()
    gpu = find_gpu()
    wanted = profiles(bundle, component, options.profiles or (own_size(bundle),))
    key = engine_key(bundle, component, wanted, options, gpu)
    tests: list[SelfTest] = []
    was_built = False

    def build(path: Path) -> None:
        nonlocal was_built
        job = _job(bundle, key, wanted, options, path)
        tests.extend(_build_once_more_if_needed(job, report))
        was_built = True

    path = options.store.obtain(key, build)
    return BuiltEngine(component, path, key.profile, was_built, tuple(tests))


def own_size(bundle: Bundle) -> SizeBucket:
    """Return the bucket of one picture of the bundle's own size."""
    return SizeBucket(bundle.manifest.defaults.width, bundle.manifest.defaults.height)


def engine_key(
    bundle: Bundle,
    component: str,
    wanted: list[Profile],
    options: BuildOptions,
    gpu: Gpu,
) -> EngineKey:
    """Return everything that the engine depends on."""
    return EngineKey(
        component=component,
        model_sha256=bundle.component_sha256(component),
        engine=ENGINE,
        engine_version=api.version(),
        device=gpu.name,
        compute_capability=gpu.compute_capability,
        profile=labels(wanted),
        options={
            **options.words(),
            "self_test": "yes" if options.self_test else "no",
            "tf32": "no" if bundle.component(component).precision == "fp32" else "yes",
        },
    )


def _job(
    bundle: Bundle, key: EngineKey, wanted: list[Profile], options: BuildOptions, path: Path
) -> BuildJob:
    component, row = key.component, bundle.component(key.component)
    reference = _reference(bundle, component) if options.self_test else None
    pairs: list[ReferencePair] = [] if reference is None else load_reference(reference)
    return BuildJob(
        component=component,
        onnx=str(bundle.component_path(component)),
        plan=str(path),
        precision=row.precision,
        profiles=tuple(with_reference(wanted, pairs)),
        workspace_bytes=options.workspace_bytes,
        optimization_level=options.optimization_level,
        refit=options.refit,
        strip=options.strip,
        version_compatible=options.version_compatible,
        weight_streaming=options.weight_streaming,
        timing_cache=str(options.timing_cache or _timing_cache(key)),
        reference=None if reference is None else str(reference),
        tolerance=row.parity.tolerance if row.parity else _TOLERANCE_WITHOUT_PARITY,
    )


def _build_once_more_if_needed(job: BuildJob, report: Report) -> list[SelfTest]:
    """Build, and where memory does not suffice once more with half the effort."""
    try:
        return _build_apart(job, report)
    except BuildMemoryError as first:
        lower = job.optimization_level // 2
        if lower == job.optimization_level:
            raise
        _log.warning(
            "Too little memory for the engine of %s at optimization level %d (%s). "
            "Trying once more at level %d.",
            *(job.component, job.optimization_level, first.reason, lower),
        )
        try:
            return _build_apart(replace(job, optimization_level=lower), report)
        except BuildMemoryError as second:
            levels = [job.optimization_level, lower]
            raise BuildMemoryError(job.component, second.reason, levels) from second


def _build_apart(job: BuildJob, report: Report) -> list[SelfTest]:
    """Build in a process that ends afterwards, so that nothing else takes up the GPU's memory."""
    task = Task(
        entry="sdopt.engines.tensorrt.worker:work",
        job=job.to_json(),
        title=f"The build of {job.component}",
        error=lambda text: EngineBuildError(job.component, text),
    )
    tests: list[SelfTest] = []
    with running([task]) as messages:
        for message in messages:
            if "share" in message:
                report(f"{job.component}: {message['phase']}", message["share"])
            tests.extend(SelfTest(**test) for test in message.get("tests", ()))
    return tests


def _reference(bundle: Bundle, component: str) -> Path | None:
    reference = bundle.component(component).reference
    return None if reference is None else bundle.path / reference


def _timing_cache(key: EngineKey) -> Path:
    """Return the file for this GPU and version: TensorRT takes no other's times."""
    words = f"{key.device}-{key.compute_capability}-{key.engine_version}"
    return cache_folder() / "timing" / f"{re.sub(r'[^A-Za-z0-9.]+', '-', words)}.cache"
