"""Reading and making the nodes of OpenVINO's graphs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sdopt.engines.contract import Array

if TYPE_CHECKING:
    import openvino as ov

_SAME_SIZE = {"strides": [1, 1], "dilations": [1, 1], "pads_begin": [1, 1], "pads_end": [1, 1]}


def is_same_size_3x3(node: ov.Node) -> bool:
    """Say whether a node is a 3x3 convolution, with stored weights, that keeps a picture's size."""
    return (
        node.get_type_name() == "Convolution"
        and has(node, _SAME_SIZE)
        and list(node.input_value(1).get_shape()[2:]) == [3, 3]
        and stored(node.input_value(1)).get_type_name() == "Constant"
    )


def same_size_3x3(picture: Any, weights: Any) -> ov.Node:
    """Make such a convolution."""
    from openvino import opset13 as op

    return op.convolution(picture, weights, **_SAME_SIZE)


def weights_of(convolution: ov.Node) -> NDArray[np.float32]:
    """Return the weights of a convolution in fp32, (out, in, height, width)."""
    return np.asarray(stored(convolution.input_value(1)).data, np.float32)


def with_bias(convolution: ov.Node) -> tuple[ov.Node, Array | None]:
    """Return the last node of a convolution with its bias, and the bias, (out,)."""
    (first, *others) = (target.get_node() for target in convolution.output(0).get_target_inputs())
    if first.get_type_name() == "Add" and not others:
        shape = [1, convolution.input_value(1).get_shape()[0], 1, 1]
        for value in first.input_values():
            if stored(value).get_type_name() == "Constant" and list(value.get_shape()) == shape:
                return first, np.asarray(stored(value).data, np.float32).reshape(-1)
    return convolution, None


def stored(output: ov.Output) -> ov.Node:
    """Return the node that stored values come from; a graph in fp16 converts them first."""
    node = output.get_node()
    return node.input_value(0).get_node() if node.get_type_name() == "Convert" else node


def has(node: ov.Node, wanted: Mapping[str, Any]) -> bool:
    """Say whether a node has all these attributes."""
    attributes = node.get_attributes()
    return all(attributes[name] == value for name, value in wanted.items())


def replace(node: ov.Node, by: ov.Node) -> None:
    """Give all readers of a node another one."""
    for target in node.output(0).get_target_inputs():
        target.replace_source_output(by.output(0))


def ints(*values: int) -> ov.Node:
    """Make a constant of shape (number of values,)."""
    from openvino import opset13 as op

    return op.constant(np.array(values, np.int64))


def index(value: int) -> ov.Node:
    """Make a constant without dimensions."""
    from openvino import opset13 as op

    return op.constant(np.int64(value))
