"""What a rule finds, and what it looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a graph that a backend refuses, gets wrong, or runs slowly.

    Attributes:
        rule: The rule's name, such as ``"unsupported-operator"``.
        node: The node's name; empty where the finding is about the whole graph.
        problem: What is wrong, with the value, and what is allowed.
    """

    rule: str
    node: str
    problem: str

    def __str__(self) -> str:
        where = f"{self.node}: " if self.node else ""
        return f"{self.rule}: {where}{self.problem}"


class Graph:
    """An ONNX file without its weights, with the type of every tensor.

    Attributes:
        folder: Where the file and its external data lie.
        model: The file.
    """

    def __init__(self, path: Path) -> None:
        """Read a graph.

        Raises:
            Exception: onnx raises several unrelated classes for what is no graph.
        """
        self.folder = path.parent
        self.path = path
        self.model = onnx.load(path, load_external_data=False)

    @property
    def nodes(self) -> list[Any]:
        """Every node, in order."""
        return list(self.model.graph.node)

    @cached_property
    def initializers(self) -> dict[str, Any]:
        """Every initialiser, by name."""
        return {tensor.name: tensor for tensor in self.model.graph.initializer}

    @cached_property
    def makers(self) -> dict[str, Any]:
        """The node that makes each tensor."""
        return {name: node for node in self.nodes for name in node.output}

    @cached_property
    def used(self) -> set[str]:
        """Every tensor that a node or the caller reads."""
        outputs = {value.name for value in self.model.graph.output}
        return outputs | {name for node in self.nodes for name in node.input}

    @cached_property
    def types(self) -> dict[str, int]:
        """The element type of each tensor, where it can be inferred."""
        graph = onnx.shape_inference.infer_shapes(self.model).graph
        values = (*graph.input, *graph.output, *graph.value_info)
        inferred = {value.name: value.type.tensor_type.elem_type for value in values}
        return inferred | {name: tensor.data_type for name, tensor in self.initializers.items()}

    def maker(self, name: str) -> Any | None:
        """Return the node that makes a tensor; None for inputs and initialisers."""
        return self.makers.get(name)

    def is_constant(self, name: str) -> bool:
        """Say whether a tensor is known without running the graph."""
        maker = self.maker(name)
        return name in self.initializers or (maker is not None and maker.op_type == "Constant")


Rule = Callable[[Graph], Iterator[Finding]]


def type_name(element_type: int) -> str:
    """Return ONNX's name of an element type, such as ``"FLOAT16"``."""
    return str(TensorProto.DataType.Name(element_type))


def attribute(node: Any, name: str, default: Any) -> Any:
    """Return an attribute's value, text as str."""
    found = next((a for a in node.attribute if a.name == name), None)
    value = default if found is None else onnx.helper.get_attribute_value(found)
    return value.decode() if isinstance(value, bytes) else value
