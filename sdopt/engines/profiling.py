"""What a backend's own profiler says of the nodes that it ran."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeTime:
    """One node of the graph as the backend ran it, fused and renamed as it pleased.

    Attributes:
        name: As the backend calls it: mostly the name of a node of the ONNX graph, with or without
            a suffix.
        kind: The backend's operator and kernel.
        seconds: Of one run, the mean over the profiled ones.
    """

    name: str
    kind: str
    seconds: float


def mean_times(runs: int, timed: Iterable[tuple[str, str, float]]) -> list[NodeTime]:
    """Add up (name, kind, seconds) over several runs; the most expensive node comes first."""
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for name, kind, seconds in timed:
        sums[name, kind] += seconds
    times = [NodeTime(name, kind, total / runs) for (name, kind), total in sums.items()]
    return sorted(times, key=lambda node: node.seconds, reverse=True)
