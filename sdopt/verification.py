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


@dataclass(frozen=True, slots=True)
class ComponentCheck:
    """How far a component is from torch's fp32 outputs on this machine; dimensionless.

    Attributes:
        component: Its name.
        relative_l2: The largest over all reference pairs and outputs.
        max_error: The largest, relative to the largest value of the reference.
        tolerance: What both may be at most.
    """

    component: str
    relative_l2: float
    max_error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the component is within the tolerance."""
        return max(self.relative_l2, self.max_error) <= self.tolerance


@dataclass(frozen=True, slots=True)
class Verification:
    """What :func:`verify` found. Wrong files are not in here: they raise."""

    files: int
    components: tuple[ComponentCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether every component is within its tolerance."""
        return all(check.passed for check in self.components)


def verify(bundle: str | Path, *, engine: str = "onnxruntime") -> Verification:
    """Hash every file again, and run every component on its reference pairs.

    Raises:
        BundleError: A file is missing or is not the one that was exported.
        EngineError: A component cannot be loaded or run.
    """
    opened = Bundle.open(bundle)
    files = len(list(opened.verify_hashes()))
    return Verification(files, tuple(check_components(opened, engine)))


def check_components(bundle: Bundle, engine: str) -> Iterator[ComponentCheck]:
    """Run each component on its reference pairs, in a process of its own, one after the other.

    A process of its own gives the memory back before the next component is loaded.
    """
    for name, component in bundle.manifest.components.items():
        if component.reference is None or component.parity is None:
            continue
        pairs = load_reference(bundle.path / component.reference)
        outputs = run_apart(engine, bundle.component_path(name), [pair.inputs for pair in pairs])
        relative_l2, max_error = _worst(pairs, outputs)
        yield ComponentCheck(name, relative_l2, max_error, component.parity.tolerance)


def run_apart(
    engine: str, model: Path, inputs: Sequence[Mapping[str, Array]]
) -> list[dict[str, Array]]:
    """Run a graph on several sets of inputs in a process that ends afterwards.

    Raises:
        EngineError: The graph cannot be loaded or run.
    """
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_run_all, engine, model, inputs).result()


def _run_all(
    engine: str, model: Path, inputs: Sequence[Mapping[str, Array]]
) -> list[dict[str, Array]]:
    opened = open_engine(engine, model.parent.name, model)
    return [opened.run(arrays) for arrays in inputs]


def _worst(
    pairs: Sequence[ReferencePair], outputs: Sequence[Mapping[str, Array]]
) -> tuple[float, float]:
    deviations = [
        deviation(ours[name], reference)
        for pair, ours in zip(pairs, outputs, strict=True)
        for name, reference in pair.outputs.items()
    ]
    return max(d[0] for d in deviations), max(d[1] for d in deviations)
