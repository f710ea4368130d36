"""Compare exported graphs with what torch computed; a graph that differs is never written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from sdopt.bundle.manifest import Parity
from sdopt.bundle.reference import deviation, load_reference
from sdopt.errors import ParityError

Run = Callable[[Path, Sequence[Mapping[str, NDArray[Any]]]], list[dict[str, NDArray[Any]]]]
"""Runs the graph at a path on several sets of inputs; returns the outputs of each by name.

Given from outside, so that export knows no engine. It should use a process of its own, which gives
its memory back.
"""


def check(component: str, model: Path, references: Path, tolerance: float, run: Run) -> Parity:
    """Run a graph on reference pairs and compare every output.

    Args:
        component: Its name, for messages.
        model: The graph.
        references: Pairs as :func:`sdopt.bundle.reference.save_reference` writes them.
        tolerance: What the relative L2 and the relative maximal error may be at most.
        run: Runs the graph.

    Returns:
        The largest deviations, to three digits.

    Raises:
        ParityError: One is beyond the tolerance, or an output is missing or not finite.
    """
    pairs = load_reference(references)
    results = run(model, [pair.inputs for pair in pairs])
    deviations = [
        deviation(ours[name], reference)
        for pair, ours in zip(pairs, results, strict=True)
        for name, reference in pair.outputs.items()
    ]
    relative_l2, max_error = (_digits(max(column)) for column in zip(*deviations, strict=True))
    for measure, value in (
        ("the relative L2 error", relative_l2),
        ("the maximal error", max_error),
    ):
        if not value <= tolerance:
            raise ParityError(component, measure, value, tolerance)
    return Parity(relative_l2, max_error, tolerance, cases=len(pairs))


def _digits(value: float) -> float:
    return float(f"{value:.3g}")
