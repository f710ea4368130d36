"""What a new engine computes, against torch's outputs in the bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sdopt.bundle.reference import ReferencePair, deviation, load_reference
from sdopt.engines.built_engine import SelfTest
from sdopt.engines.contract import Array
from sdopt.engines.cuda.device import shared_device
from sdopt.engines.options import Model
from sdopt.engines.tensorrt.engine import TensorRtEngine
from sdopt.engines.tensorrt.job import BuildJob
from sdopt.engines.tensorrt.plan import Plan, PlanFile, UnloadablePlanError
from sdopt.engines.tensorrt.profiles import Profile, exactly
from sdopt.errors import EngineBuildError, SelfTestError

REFERENCE = "the bundle's reference pair"


def with_reference(profiles: Sequence[Profile], pairs: Sequence[ReferencePair]) -> list[Profile]:
    """Add a profile for the shapes of the bundle's reference pairs, unless one holds them.

    The pairs of UNet and VAE are small, 88x72 pixels, so that a bundle stays small. What an engine
    makes of them says that graph, weights and precision are right; it says nothing of the kernels
    that were chosen for other sizes.
    """
    shapes = [{name: a.shape for name, a in pair.inputs.items()} for pair in pairs]
    missing = [s for s in shapes if not any(profile.holds(s) for profile in profiles)]
    return [*profiles, *(exactly(REFERENCE, s) for s in missing)]


def self_test(job: BuildJob) -> list[SelfTest]:
    """Run a new plan on every profile.

    Returns:
        One entry for each profile, in order.

    Raises:
        SelfTestError: It is further from torch than the bundle allows, or not finite.
        EngineBuildError: It cannot be loaded.
    """
    assert job.reference is not None
    pairs = load_reference(Path(job.reference))
    engine = _engine(job)
    return [_tested(job, engine, profile, pairs) for profile in job.profiles]


def _tested(
    job: BuildJob, engine: TensorRtEngine, profile: Profile, pairs: Sequence[ReferencePair]
) -> SelfTest:
    fitting = [p for p in pairs if profile.holds({n: a.shape for n, a in p.inputs.items()})]
    for pair in fitting:
        found = _worst(engine.run(pair.inputs), pair.outputs)
        if not found <= job.tolerance:
            raise SelfTestError(job.component, profile.label, found, job.tolerance)
    if fitting:
        return SelfTest(profile.label, found)
    outputs = engine.run(_enlarged(pairs[0].inputs, profile))
    if not all(np.isfinite(array).all() for array in outputs.values()):
        raise SelfTestError(job.component, profile.label, float("inf"), job.tolerance)
    return SelfTest(profile.label, None)


def _engine(job: BuildJob) -> TensorRtEngine:
    file = PlanFile(
        Path(job.plan),
        Path(job.onnx),
        strip=job.strip,
        version_compatible=job.version_compatible,
        weight_streaming=job.weight_streaming,
    )
    model = Model(job.component, Path(job.onnx), precision=job.precision)
    device = shared_device()
    try:
        return TensorRtEngine.over(model, Plan(file, device), device)
    except UnloadablePlanError as problem:
        raise EngineBuildError(job.component, f"The new engine cannot be loaded: {problem}") from (
            problem
        )


def _worst(ours: Mapping[str, Array], reference: Mapping[str, Array]) -> float:
    return max(deviation(ours[name], array)[0] for name, array in reference.items())


def _enlarged(inputs: Mapping[str, Array], profile: Profile) -> dict[str, Array]:
    """Repeat inputs until they have the profile's largest shapes."""
    return {name: _repeated(array, profile.ranges[name].max) for name, array in inputs.items()}


def _repeated(array: Array, shape: tuple[int, ...]) -> Array:
    for axis, size in enumerate(shape):
        array = np.take(array, np.arange(size) % array.shape[axis], axis)
    return array
