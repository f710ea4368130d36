"""Check a bundle on this machine: its files, and what its graphs compute on this engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.reference import ReferencePair, deviation, load_reference
from sdopt.engines.catalog import open_engine
from sdopt.engines.contract import Array
from sdopt.engines.options import EngineOptions, Model

_LOWERED_TOLERANCES = {"fp16": (2e-2, 2e-2), "bf16": (5e-2, 1e-1)}
"""For the relative L2 and the largest error where an engine computes in fewer bits than the graph.
bf16 keeps 8 bits, so that each operation errs by up to 0.4 %. A UNet of Stable Diffusion 1.5's size
was seen to reach 2.5 % in relative L2, and a small VAE 5 % at its worst pixel."""


@dataclass(frozen=True, slots=True)
class ComponentCheck:
    """How far a component is from torch's fp32 outputs on this machine; dimensionless.

    Attributes:
        component: Its name.
        precision: What the engine computes in.
        relative_l2: The largest over all reference pairs and outputs.
        max_error: The largest, relative to the largest value of the reference.
        tolerance: What ``relative_l2`` may be at most.
        max_error_tolerance: What ``max_error`` may be at most.
    """

    component: str
    precision: str
    relative_l2: float
    max_error: float
    tolerance: float
    max_error_tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the component is within both tolerances."""
        return self.relative_l2 <= self.tolerance and self.max_error <= self.max_error_tolerance


@dataclass(frozen=True, slots=True)
class Verification:
    """What :func:`verify` found. Wrong files are not in here: they raise."""

    files: int
    components: tuple[ComponentCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether every component is within its tolerance."""
        return all(check.passed for check in self.components)


@dataclass(frozen=True, slots=True)
class Outputs:
    """What an engine computed in a process of its own.

    Attributes:
        precision: What it computed in.
        arrays: The outputs by name, for each set of inputs.
    """

    precision: str
    arrays: list[dict[str, Array]]


def verify(
    bundle: str | Path, *, engine: str = "onnxruntime", options: EngineOptions | None = None
) -> Verification:
    """Hash every file again, and run every component on its reference pairs.

    Raises:
        BundleError: A file is missing or is not the one that was exported.
        EngineError: A component cannot be loaded or run.
    """
    opened = Bundle.open(bundle)
    files = len(list(opened.verify_hashes()))
    return Verification(files, tuple(check_components(opened, engine, options)))


def check_components(
    bundle: Bundle, engine: str, options: EngineOptions | None = None
) -> Iterator[ComponentCheck]:
    """Run each component on its reference pairs, in a process of its own, one after the other.

    A process of its own gives the memory back before the next component is loaded.
    """
    for name, component in bundle.manifest.components.items():
        if component.reference is None or component.parity is None:
            continue
        pairs = load_reference(bundle.path / component.reference)
        inputs = [pair.inputs for pair in pairs]
        outputs = run_apart(engine, Model.of(bundle, name), inputs, options)
        own = (component.parity.tolerance,) * 2
        lowered = outputs.precision != component.precision
        tolerances = _LOWERED_TOLERANCES.get(outputs.precision, own) if lowered else own
        worst = _worst(pairs, outputs.arrays)
        yield ComponentCheck(name, outputs.precision, *worst, *tolerances)


def run_apart(
    engine: str,
    model: Model,
    inputs: Sequence[Mapping[str, Array]],
    options: EngineOptions | None = None,
) -> Outputs:
    """Run a graph on several sets of inputs in a process that ends afterwards.

    Raises:
        EngineError: The graph cannot be loaded or run.
    """
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_run_all, engine, model, inputs, options).result()


def _run_all(
    engine: str,
    model: Model,
    inputs: Sequence[Mapping[str, Array]],
    options: EngineOptions | None,
) -> Outputs:
    opened = open_engine(engine, model, options)
    return Outputs(opened.precision, [opened.run(arrays) for arrays in inputs])


def _worst(
    pairs: Sequence[ReferencePair], outputs: Sequence[Mapping[str, Array]]
) -> tuple[float, float]:
    deviations = [
        deviation(ours[name], reference)
        for pair, ours in zip(pairs, outputs, strict=True)
        for name, reference in pair.outputs.items()
    ]
    return max(d[0] for d in deviations), max(d[1] for d in deviations)
