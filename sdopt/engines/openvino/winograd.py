"""3x3 convolutions by Winograd's algorithm F(2x2, 3x3): 4 products where there were 9.

Tiles of 4x4 pixels, each two pixels from the next, make 16 products for 2x2 pixels, which took 36.
Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015,
arXiv:1509.09308), section 4.1.

In fp32 the result is as exact as the convolution's own. In bf16 the error of one convolution is
2.2 times as large, that of Stable Diffusion 1.5's UNet a quarter larger. See docs/precision.md for
pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdopt.engines.openvino.nodes import is_same_size_3x3, replace, weights_of, with_bias
from sdopt.engines.openvino.tiles import Form, convolution

if TYPE_CHECKING:
    import openvino as ov

WINOGRAD = Form(
    pixels=np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], np.float32),
    weights=np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32),
    results=np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float32),
    step=2,
)

_SIDES = (2, 3)

_LEAST_CHANNELS = 256
"""With 128, summing takes as long as is saved (128 channels, 256x256: 0.87 times as fast)."""
_LEAST_SIDE = 8
"""On smaller pictures time goes into reading weights, of which there are 16 for 9 (1280 channels,
4x4: 0.55 times as fast)."""


def use_winograd(graph: ov.Model, side: int, precision: str) -> int:
    """Replace the convolutions that are faster so. Return how many were replaced.

    Args:
        graph: Is changed.
        side: Of the smallest pictures that should be fast, as they come into the graph. (A graph
            computes all sizes; convolutions that see smaller pictures are slower so.)
        precision: What will be computed in.
    """
    large = _on_large_pictures(graph, side)
    candidates = (node for node in graph.get_ops() if node.get_friendly_name() in large)
    found = [node for node in candidates if _is_worth_it(node)]
    for node in found:
        last, bias = with_bias(node)
        result, products = convolution(
            node.input_value(0), weights_of(node), bias, WINOGRAD, precision
        )
        products.set_friendly_name(node.get_friendly_name())  # by which profiles are read
        replace(last, result)
    return len(found)


def _on_large_pictures(graph: ov.Model, side: int) -> set[str]:
    """Return the names of convolutions that make 8x8 pixels and more of pictures of that side.

    In a graph for pictures of one size it is that size that counts.
    """
    sized = graph.clone()
    shapes = {port: port.get_partial_shape() for port in sized.inputs}
    for shape in shapes.values():
        for axis in _SIDES if len(shape) == 4 else ():
            if shape[axis].is_dynamic:
                shape[axis] = side
    sized.reshape(shapes)
    return {
        node.get_friendly_name()
        for node in sized.get_ops()
        if node.get_type_name() == "Convolution"
        and min(_sides(node.get_output_partial_shape(0))) >= _LEAST_SIDE
    }


def _sides(shape: ov.PartialShape) -> list[int]:
    return [shape[axis].get_min_length() for axis in _SIDES]


def _is_worth_it(node: ov.Node) -> bool:
    if not is_same_size_3x3(node) or min(node.input_value(1).get_shape()[:2]) < _LEAST_CHANNELS:
        return False
    return node.input_value(0).get_node().get_type_name() != "Interpolate"  # see upsampling
