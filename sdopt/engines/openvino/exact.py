"""What stays in fp32 when OpenVINO computes in fewer bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino as ov

_INPUTS = ("timestep", "time_ids")
"""Inputs that are numbers of up to a thousand and more, of which bf16 keeps 8 bits: it cannot tell
timestep 980 from 981. What is computed of them before the first product stays in fp32."""
PREFIX = "sdopt.exact."
"""Of the names of outputs that are there for exactness alone."""


def keep_exact(graph: ov.Model) -> None:
    """Keep in fp32 what is computed of timesteps and sizes before the first matrix product.

    OpenVINO lowers the precision of everything but what lies between the last matrix product and
    an output. So the tensor that goes into the first product becomes an output, that no one reads.
    """
    for name in _INPUTS:
        if parameter := next((i for i in graph.inputs if name in i.get_names()), None):
            for index, output in enumerate(_before_products(parameter.get_node())):
                output.add_names({f"{PREFIX}{name}.{index}"})
                graph.add_outputs([f"{PREFIX}{name}.{index}"])


def _before_products(node: ov.Node) -> list[ov.Output]:
    """Return the outputs, downstream of a node, that feed the first matrix products."""
    found: dict[str, ov.Output] = {}
    waiting, seen = [node], set()
    while waiting:
        current = waiting.pop()
        for output in current.outputs():
            for reader in (target.get_node() for target in output.get_target_inputs()):
                if reader.get_type_name() == "MatMul":
                    found[f"{current.get_friendly_name()}:{output.get_index()}"] = output
                elif reader.get_friendly_name() not in seen:
                    seen.add(reader.get_friendly_name())
                    waiting.append(reader)
    return [found[name] for name in sorted(found)]
