"""Which engines there are, by name, which one to take, and how one is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sdopt.engines.build_options import BuildOptions
from sdopt.engines.key import EngineKey
from sdopt.engines.offer import Offer
from sdopt.engines.options import EngineOptions, Model
from sdopt.engines.store import EngineStore
from sdopt.engines.timestep_input import has_timestep_per_row
from sdopt.errors import InvalidValueError, ProviderUnavailableError, UnknownNameError

if TYPE_CHECKING:
    from sdopt.bundle.bundle import Bundle
    from sdopt.bundle.tensors import TensorSpec
    from sdopt.engines.built_engine import BuiltEngine, Report
    from sdopt.engines.contract import Array, Engine
    from sdopt.engines.memory import Footprint
    from sdopt.engines.profiling import NodeTime

AUTO = "auto"
DEVICES = ("cpu", "gpu", "cuda")

# Each module offers a class (the engine), `offer(device)` and `footprint(precision)`, and may offer
# `profile(model, options, inputs, runs)` and `stored_key(model, options)`.
_BACKENDS = {
    "onnxruntime": ("onnxruntime", "OnnxRuntimeEngine"),
    "onnxruntime-tensorrt": ("onnxruntime.tensorrt_provider", "OnnxRuntimeTensorRtEngine"),
    "openvino": ("openvino", "OpenVinoEngine"),
    "tensorrt": ("tensorrt", "TensorRtEngine"),
}

ENGINES: tuple[str, ...] = tuple(_BACKENDS)
BUILT_AHEAD = ("tensorrt",)
"""Engines that only run what `sdopt build` has built. Their modules offer `build_component`,
`ready(models, store)` and `explain(model, options)`, too."""


COMPILED_FOR_ONE_SIZE = ("openvino",)
"""Engines that can be told the one size of all pictures ahead, and are faster then."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, and why it was taken.

    Attributes:
        engine: A name in :data:`ENGINES`.
        reason: In words, for people.
    """

    engine: str
    reason: str


def choose(
    engine: str,
    device: str = "cpu",
    models: Sequence[Model] = (),
    store: EngineStore | None = None,
) -> Choice:
    """Check an engine's name, or take the fastest installed one that runs on the device.

    Args:
        engine: One of :data:`ENGINES`, or ``"auto"``.
        device: One of :data:`DEVICES`.
        models: What is to be run: a backend that only runs what was built for it is taken where
            that was done.
        store: Where built engines lie; None for the usual place.

    Raises:
        UnknownNameError: There is no engine or no device of this name.
        ProviderUnavailableError: ``"auto"``, and no installed engine runs on the device.
    """
    if device not in DEVICES:
        raise UnknownNameError("device", device, DEVICES)
    if engine in ENGINES:
        return Choice(engine, "asked for")
    if engine != AUTO:
        raise UnknownNameError("engine", engine, (*ENGINES, AUTO))
    return _fastest(device, models, store or EngineStore())


def open_engine(engine: str, model: Model, options: EngineOptions | None = None) -> Engine:
    """Load one component with the engine of this name.

    Raises:
        UnknownNameError: There is no engine or no device of this name.
        MissingDependencyError: The engine's package is not installed.
        ProviderUnavailableError: The engine cannot run on the device, or not in the precision.
        EngineError: The component cannot be loaded.
    """
    options = options or EngineOptions()
    name = choose(engine, options.device, (model,), options.store).engine
    opened: Engine = getattr(_module(name), _BACKENDS[name][1])(model, options.of(model))
    return opened


def check_fixed_size(engine: str, inputs: Sequence[TensorSpec], options: EngineOptions) -> None:
    """Check that an engine can be told the size of all pictures, if it is.

    Args:
        engine: A name in :data:`ENGINES`.
        inputs: Of the UNet.
        options: With the size.

    Raises:
        InvalidValueError: It cannot, or more than one number of them was named.
    """
    size = options.fixed_size
    if size is not None and size.min_images > 1:
        allowed = "for one number of pictures at a time"
        example = f"{size.width}x{size.height}:{size.max_images}"
        raise InvalidValueError("fixed_size", str(size), allowed, f"Give {example}")
    if size is None:
        return
    if engine in COMPILED_FOR_ONE_SIZE:
        if has_timestep_per_row(inputs):
            return
        allowed = "left out with a UNet of one timestep for all rows"
        hint = "`sdopt import FOLDER OUT` makes a bundle whose UNet has one for each"
        raise InvalidValueError("fixed_size", str(size), allowed, hint)
    ahead = "Its sizes are those that it is built for: sdopt build --profile WIDTHxHEIGHT"
    others = f"Engines that are faster with it: {', '.join(COMPILED_FOR_ONE_SIZE)}"
    hint = ahead if engine in BUILT_AHEAD else others
    raise InvalidValueError("fixed_size", str(size), f"left out with {engine}", hint)


def stored_key(engine: str, model: Model, options: EngineOptions) -> EngineKey | None:
    """Return the key under which this engine keeps what it builds; None if it keeps nothing."""
    find = getattr(_module(choose(engine, options.device).engine), "stored_key", None)
    key: EngineKey | None = None if find is None else find(model, options.of(model))
    return key


def profile(
    engine: str, model: Model, options: EngineOptions, inputs: Mapping[str, Array], runs: int = 3
) -> list[NodeTime]:
    """Run a component under the backend's own profiler, which slows it down.

    Args:
        engine: A name in :data:`ENGINES`.
        model: The component.
        options: How it is loaded.
        inputs: Arrays by name.
        runs: How many are profiled, after one that warms up.

    Returns:
        The nodes that ran, the most expensive first; empty where the backend has no profiler here.
    """
    find = getattr(_module(choose(engine, options.device).engine), "profile", None)
    return [] if find is None else list(find(model, options, inputs, runs))


def explain(engine: str, model: Model, options: EngineOptions) -> str:
    """Say what will be loaded for a model, and why: what follows its name in a sentence."""
    name = choose(engine, options.device, (model,), options.store).engine
    if name in BUILT_AHEAD:
        return str(_module(name).explain(model, options))
    key = stored_key(name, model, options)
    if key is None:
        return "is loaded from its ONNX file: nothing is built for it."
    if reason := options.store.why(key):
        return f"would be built: {reason}."
    return f"is stored as {key.name}."


def offered(engine: str, device: str) -> Offer | None:
    """Import a backend, and return what it offers on a device; None where it cannot run there.

    Args:
        engine: A name in :data:`ENGINES`.
        device: One of :data:`DEVICES`.
    """
    offer: Offer | None = _module(engine).offer(device)
    return offer


def footprint(engine: str, options: EngineOptions) -> Footprint | None:
    """Return what an engine takes in main memory, as it was measured; None where it was not.

    On an NVIDIA GPU most of it lies in the GPU's memory, and was never measured.
    """
    name = choose(engine, options.device).engine
    if options.device == "cuda":
        return None
    found: Footprint | None = _module(name).footprint(options.precision)
    return found


def build_component(
    engine: str,
    bundle: Bundle,
    component: str,
    options: BuildOptions,
    report: Report,
) -> BuiltEngine:
    """Build a component's engine ahead of time, unless it is there.

    Raises:
        UnknownNameError: Nothing is built ahead for this engine.
        MissingDependencyError: A package that building needs is not installed.
        ProviderUnavailableError: There is no device to build for.
        EngineError: It cannot be built, is wrong, or cannot be kept.
    """
    if engine not in BUILT_AHEAD:
        raise UnknownNameError("engine to build", engine, BUILT_AHEAD)
    build = _module(engine).build_component
    built: BuiltEngine = build(bundle, component, options, report)
    return built


def _fastest(device: str, models: Sequence[Model], store: EngineStore) -> Choice:
    offers = [offer for name in ENGINES if (offer := offered(name, device))]
    offers = [offer for offer in offers if _is_ready(offer.engine, models, store)]
    if not offers:
        extra = "gpu" if device == "cuda" else "cpu"
        hint = f"Install one, for instance with: pip install 'sdopt[{extra}]'"
        raise ProviderUnavailableError(f"an engine for {device}", (), hint)
    best, *others = sorted(offers, key=lambda offer: offer.rank)
    reasons = (best.why, *(other.why for other in others))
    return Choice(best.engine, f"the fastest of those installed: {'; '.join(reasons)}")


def _is_ready(name: str, models: Sequence[Model], store: EngineStore) -> bool:
    """Say whether a backend can run these models now, without minutes of building."""
    return name not in BUILT_AHEAD or bool(_module(name).ready(models, store))


def _module(name: str) -> Any:
    return import_module(f"sdopt.engines.{_BACKENDS[name][0]}")
