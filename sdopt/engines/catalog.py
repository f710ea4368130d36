"""Which engines there are, by name, which one to take, and how one is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sdopt.engines.key import EngineKey
from sdopt.engines.offer import Offer
from sdopt.engines.options import EngineOptions, Model
from sdopt.errors import ProviderUnavailableError, UnknownNameError

if TYPE_CHECKING:
    from sdopt.engines.contract import Array, Engine
    from sdopt.engines.memory import Footprint
    from sdopt.engines.profiling import NodeTime

AUTO = "auto"
DEVICES = ("cpu", "gpu", "cuda")

# Each module offers a class (the engine), `offer(device)` and `footprint(precision)`, and may offer
# `profile(model, options, inputs, runs)`.
_CLASSES = {"onnxruntime": "OnnxRuntimeEngine", "openvino": "OpenVinoEngine"}

ENGINES: tuple[str, ...] = tuple(_CLASSES)


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, and why it was taken.

    Attributes:
        engine: A name in :data:`ENGINES`.
        reason: In words, for people.
    """

    engine: str
    reason: str


def choose(engine: str, device: str = "cpu") -> Choice:
    """Check an engine's name, or take the fastest installed one that runs on the device.

    Args:
        engine: One of :data:`ENGINES`, or ``"auto"``.
        device: One of :data:`DEVICES`.

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
    return _fastest(device)


def open_engine(engine: str, model: Model, options: EngineOptions | None = None) -> Engine:
    """Load one component with the engine of this name.

    Raises:
        UnknownNameError: There is no engine or no device of this name.
        MissingDependencyError: The engine's package is not installed.
        ProviderUnavailableError: The engine cannot run on the device, or not in the precision.
        EngineError: The component cannot be loaded.
    """
    options = options or EngineOptions()
    name = choose(engine, options.device).engine
    opened: Engine = getattr(_module(name), _CLASSES[name])(model, options.of(model))
    return opened


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


def footprint(engine: str, options: EngineOptions) -> Footprint:
    """Return what an engine takes in memory, as it was measured."""
    name = choose(engine, options.device).engine
    found: Footprint = _module(name).footprint(options.precision)
    return found


def _fastest(device: str) -> Choice:
    offers = [offer for name in ENGINES if (offer := _offer(name, device))]
    if not offers:
        hint = "Install one, for instance with: pip install 'sdopt[cpu]'"
        raise ProviderUnavailableError(f"an engine for {device}", (), hint)
    best, *others = sorted(offers, key=lambda offer: offer.rank)
    reasons = (best.why, *(other.why for other in others))
    return Choice(best.engine, f"the fastest of those installed: {'; '.join(reasons)}")


def _offer(name: str, device: str) -> Offer | None:
    offer: Offer | None = _module(name).offer(device)
    return offer


def _module(name: str) -> Any:
    return import_module(f"sdopt.engines.{name}")
