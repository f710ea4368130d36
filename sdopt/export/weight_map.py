"""Which initialiser of a graph holds which weight, so that weights can be exchanged later."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import onnx_ir as ir

FILE_NAME = "weights.json"
_TRANSPOSED = ".transposed"


def weight_map(graph: ir.Graph, names: Collection[str]) -> dict[str, dict[str, object] | None]:
    """Find the weights of a network among the initialisers of its cleaned graph.

    Args:
        graph: As :func:`sdopt.export.graph.finish` leaves it.
        names: Of the network's weights, as diffusers or transformers call them.

    Returns:
        For each weight ``initializer``, its name in the graph, and ``transposed``, whether it
        holds the weight's transpose. None for a weight that the graph does not read, and for
        those of group norms, which are folded into constants of another shape: they cannot be
        exchanged. Adapters such as LoRA change none of them.
    """
    held = {
        name.removesuffix(_TRANSPOSED): {
            "initializer": name,
            "transposed": name.endswith(_TRANSPOSED),
        }
        for name in graph.initializers
    }
    return {name: held.get(name) for name in sorted(names)}


def write(graph: ir.Graph, names: Collection[str], folder: Path) -> None:
    """Write the map of a component's graph into its folder.

    Raises:
        OSError: The disk is full or not writable.
    """
    text = json.dumps(weight_map(graph, names), indent=1)
    (folder / FILE_NAME).write_text(text + "\n", encoding="utf-8")
