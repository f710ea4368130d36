"""Reference pairs: a few inputs of a component and torch's fp32 outputs, kept in the bundle.

With them `sdopt verify` and every engine's self-test need no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class ReferencePair:
    """Inputs of one call and what torch computed from them, by tensor name."""

    inputs: Arrays
    outputs: Arrays


def save_reference(path: Path, pairs: Sequence[ReferencePair]) -> None:
    """Write pairs as safetensors, named ``{case}.in.{tensor}`` and ``{case}.out.{tensor}``.

    Raises:
        OSError: The disk is full or not writable.
    """
    from safetensors.numpy import save

    arrays = {
        f"{case}.{side}.{name}": np.ascontiguousarray(array)
        for case, pair in enumerate(pairs)
        for side, group in (("in", pair.inputs), ("out", pair.outputs))
        for name, array in group.items()
    }
    path.write_bytes(save(arrays))


def load_reference(path: Path) -> list[ReferencePair]:
    """Read what :func:`save_reference` wrote."""
    from safetensors.numpy import load_file

    groups: dict[int, dict[str, dict[str, NDArray[np.generic]]]] = {}
    for key, array in load_file(path).items():
        case, side, name = key.split(".", 2)
        groups.setdefault(int(case), {"in": {}, "out": {}})[side][name] = array
    return [ReferencePair(groups[case]["in"], groups[case]["out"]) for case in sorted(groups)]


def deviation(ours: NDArray[np.generic], reference: NDArray[np.generic]) -> tuple[float, float]:
    """Compare an output with its reference.

    Returns:
        ``|ours - reference|_2 / |reference|_2`` and ``max|ours - reference| / max|reference|``,
        both dimensionless; infinite where ours is not finite or has another shape.
    """
    if ours.shape != reference.shape or not np.isfinite(ours).all():
        return float("inf"), float("inf")
    exact = reference.astype(np.float64)
    error = ours.astype(np.float64) - exact
    norm, peak = float(np.linalg.norm(exact)), float(np.abs(exact).max(initial=0.0))
    tiny = float(np.finfo(np.float32).tiny)
    return float(np.linalg.norm(error)) / max(norm, tiny), float(np.abs(error).max()) / max(
        peak, tiny
    )
