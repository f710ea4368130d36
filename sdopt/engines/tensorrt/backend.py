"""Which built engine serves a component on this machine, and why another does not."""

from __future__ import annotations

from collections.abc import Sequence

from sdopt.engines.cuda.device import shared_device
from sdopt.engines.cuda.runtime import Gpu, find_gpu
from sdopt.engines.key import EngineKey
from sdopt.engines.memory import Footprint
from sdopt.engines.offer import Offer
from sdopt.engines.options import EngineOptions, Model
from sdopt.engines.sidecar import ENGINE_FILE
from sdopt.engines.store import EngineStore, StoredEngine
from sdopt.engines.tensorrt import api
from sdopt.engines.tensorrt.plan import Plan, PlanFile, UnloadablePlanError
from sdopt.errors import EngineNotBuiltError, MissingDependencyError, ProviderUnavailableError

ENGINE = "tensorrt"


def open_plan(model: Model, options: EngineOptions) -> Plan:
    """Load the newest engine in the store that was built for this model and machine.

    Raises:
        MissingDependencyError: tensorrt or cuda-bindings is not installed.
        ProviderUnavailableError: There is no GPU, or another device or precision was asked for.
        EngineNotBuiltError: None can be used.
        DeviceMemoryError: There is too little memory on the GPU.
    """
    api.library()
    _check(model, options)
    device = shared_device()
    try:
        entry = find(model, device.gpu, options.store)
        return _load(model, entry, options.store)
    except UnloadablePlanError as problem:
        raise EngineNotBuiltError(model.name, str(problem), command(model)) from problem


def find(model: Model, gpu: Gpu, store: EngineStore) -> StoredEngine:
    """Return the newest stored engine of a model that this machine can run.

    Raises:
        UnloadablePlanError: There is none; it says why the newest one cannot be used.
    """
    if not model.sha256:
        raise UnloadablePlanError(
            "engines are built from bundles, and this is another tool's folder"
        )
    entries = store.built_from(model.name, model.sha256, ENGINE)
    reasons = [entry.problem or mismatch(_key(entry), gpu) for entry in entries]
    usable = [e for e, reason in zip(entries, reasons, strict=True) if not reason]
    if usable:
        return usable[0]
    raise UnloadablePlanError(reasons[0] if reasons else "none was built for this bundle")


def mismatch(key: EngineKey, gpu: Gpu) -> str:
    """Say why an engine does not run on this GPU with this TensorRT; empty where it does."""
    if (key.device, key.compute_capability) != (gpu.name, gpu.compute_capability):
        return (
            f"the stored one was built for {key.device} (compute capability "
            f"{key.compute_capability}), and this is {gpu.name} ({gpu.compute_capability})"
        )
    ours = api.version()
    carries_its_own = key.options.get("version_compatible") == "yes"
    if key.engine_version == ours or (
        carries_its_own and api.numbers(key.engine_version) <= api.numbers(ours)
    ):
        return ""
    return f"the stored one was built with TensorRT {key.engine_version}, and this is {ours}"


def command(model: Model, option: str = "") -> str:
    """Return the command that builds a component's engine."""
    bundle = model.path.parent.parent
    return f"sdopt build {bundle} --engine tensorrt {option}".rstrip()


def offer(device: str) -> Offer | None:
    """Say how fast TensorRT would be on a device; None where it cannot run."""
    if device != "cuda":
        return None
    try:
        api.library()
        find_gpu()
    except (MissingDependencyError, ProviderUnavailableError):
        return None
    return Offer(ENGINE, 10, "TensorRT runs engines that were built for this GPU")


def ready(models: Sequence[Model], store: EngineStore) -> bool:
    """Say whether there is a built engine for every component, so that ``"auto"`` may take it."""
    try:
        for model in models:
            find(model, find_gpu(), store)
    except UnloadablePlanError:
        return False
    return bool(models)


def explain(model: Model, options: EngineOptions) -> str:
    """Say which engine will be loaded, or why none can be."""
    try:
        return f"is stored as {find(model, find_gpu(), options.store).path.name}."
    except UnloadablePlanError as problem:
        return f"has no engine: {problem}."


def footprint(precision: str | None) -> Footprint | None:  # noqa: ARG001 - as every backend's
    """Return None: what it takes lies on the GPU, and is known when the engines are loaded."""
    return None


def plan_file(model: Model, entry: StoredEngine) -> PlanFile:
    """Describe a stored engine to those who load it."""
    options = _key(entry).options
    flags = ("strip", "version_compatible", "weight_streaming")
    said = {flag: options.get(flag) == "yes" for flag in flags}
    return PlanFile(entry.path / ENGINE_FILE, model.path, **said)


def _load(model: Model, entry: StoredEngine, store: EngineStore) -> Plan:
    try:
        return Plan(plan_file(model, entry), shared_device())
    except UnloadablePlanError as problem:
        store.discard(_key(entry), str(problem))  # or `sdopt build` would find it sound
        raise


def _key(entry: StoredEngine) -> EngineKey:
    assert entry.sidecar is not None
    return entry.sidecar.key


def _check(model: Model, options: EngineOptions) -> None:
    if options.device != "cuda":
        hint = "TensorRT runs on NVIDIA's GPUs: --device cuda"
        raise ProviderUnavailableError(f"tensorrt on {options.device}", ("cuda",), hint)
    if options.precision not in (None, model.precision):
        hint = (
            f"TensorRT computes as the bundle says: export it with --precision {options.precision}"
        )
        raise ProviderUnavailableError(f"tensorrt in {options.precision}", [model.precision], hint)
