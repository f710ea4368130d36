"""3x3 convolutions by Winograd's algorithm F(2x2, 3x3): 4 products where there were 9.

A picture is cut into tiles of 4x4 pixels, each two pixels from the next. Sums and differences of a
tile's pixels are multiplied, value by value, with sums of the weights (over all channels that makes
16 matrix products), and sums of those are the 2x2 pixels in the middle. Source: Lavin and Gray,
"Fast Algorithms for Convolutional Neural Networks" (2015, arXiv:1509.09308), section 4.1.

In fp32 the result is as exact as the convolution's own. In bf16 sums are rounded before they are
multiplied, and products before they are summed: the error of one convolution is 2.2 times as large,
that of Stable Diffusion 1.5's UNet a quarter larger. See docs/precision.md for pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sdopt.engines.contract import Array
from sdopt.engines.openvino.nodes import (
    index,
    ints,
    is_same_size_3x3,
    replace,
    stored,
    weights_of,
)

if TYPE_CHECKING:
    import openvino as ov

_Matrix = NDArray[np.float32]

_PIXELS = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], np.float32)
_WEIGHTS = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
_RESULTS = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float32)
"""What is summed in one dimension: four pixels, three weights, and four products."""

_HEIGHT, _WIDTH = 2, 3
_TO_THE_END = 2**31 - 1

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
    for convolution in found:
        last, bias = _with_bias(convolution)
        replace(last, _tiled(convolution, bias, _PRODUCTS.get(precision, _products)))
    return len(found)


def tile_weights(weights: _Matrix) -> _Matrix:
    """Return the sums of weights that sums of pixels are multiplied with.

    Args:
        weights: Of the convolution, (out, in, 3, 3).

    Returns:
        (16, out, in), row by row of a tile.
    """
    outputs, inputs = weights.shape[:2]
    by_place = weights.reshape(outputs * inputs, 9).T
    return (_both_dimensions(_WEIGHTS) @ by_place).reshape(16, outputs, inputs)


def _tiled(convolution: ov.Node, bias: Array | None, products_of: _Products) -> ov.Node:
    from openvino import opset13 as op

    picture, weights = convolution.input_value(0), weights_of(convolution)
    outputs, inputs = weights.shape[:2]
    shape = op.shape_of(picture)
    rows, sides = (op.gather(shape, ints(*axes), index(0)) for axes in ((0,), (_HEIGHT, _WIDTH)))
    tiles = op.divide(op.add(sides, ints(1)), ints(2))

    summed = _sums(_tile_pixels(_channels_last(picture, shape, inputs), sides), _PIXELS)
    factors = op.reshape(op.concat(summed, 0), ints(16, -1, inputs), special_zero=False)
    products = products_of(factors, tile_weights(weights), convolution.get_friendly_name())

    each = [op.gather(products, index(place), index(0)) for place in range(16)]
    pixels = op.concat(_sums(each, _RESULTS, bias), 0)
    grid = op.concat([ints(2, 2), rows, tiles, ints(outputs)], 0)
    return _first_channels(_interleaved(op.reshape(pixels, grid, False), rows, sides, outputs))


def _products(factors: ov.Node, weights: _Matrix, name: str) -> ov.Node:
    """Multiply (16, tiles, in) by (16, out, in); the product is called as profiles are read."""
    from openvino import opset13 as op

    products = op.matmul(factors, op.constant(weights), False, True)
    products.set_friendly_name(name)
    return products


def _products_in_bf16(factors: ov.Node, weights: _Matrix, name: str) -> ov.Node:
    """Do the same with weights that are kept in bf16: OpenVINO keeps what it is given.

    It would compute in bf16 anyway, from a copy.
    """
    from openvino import Tensor, Type
    from openvino import opset13 as op
    from openvino.op import Constant

    rounded = Tensor(Type.bf16, weights.shape)
    rounded.data.view(np.uint16)[...] = _bf16_bits(weights)
    products = op.matmul(op.convert(factors, "bf16"), Constant(rounded), False, True)
    products.set_friendly_name(name)
    return op.convert(products, "f32")


_Products = Callable[["ov.Node", _Matrix, str], "ov.Node"]
_PRODUCTS: Mapping[str, _Products] = {"bf16": _products_in_bf16}


def _bf16_bits(values: _Matrix) -> NDArray[np.uint16]:
    """Round to the nearest, of two to the even one."""
    bits = values.view(np.uint32)
    rounded = bits >> 16
    rounded &= 1
    rounded += 0x7FFF
    rounded += bits
    rounded >>= 16
    return rounded.astype(np.uint16)


def _channels_last(picture: Any, shape: ov.Node, channels: int) -> ov.Node:
    """Transpose (rows, channels, height, width) to (rows, height, width, channels).

    It is written as the opposite with height and width as one, for which OpenVINO has a kernel
    that is three times as fast.
    """
    from openvino import opset13 as op

    flat = op.reshape(picture, ints(0, channels, 1, -1), special_zero=True)
    last = op.gather(shape, ints(0, _HEIGHT, _WIDTH, 1), index(0))
    return op.reshape(_first_channels(flat), last, special_zero=False)


def _first_channels(picture: ov.Node) -> ov.Node:
    """Transpose (rows, height, width, channels) to (rows, channels, height, width)."""
    from openvino import opset13 as op

    return op.transpose(picture, ints(0, 3, 1, 2))


def _tile_pixels(picture: ov.Node, sides: ov.Node) -> list[ov.Node]:
    """Return the pixels at each of the 16 places of all tiles, (rows, tiles, tiles, channels)."""
    from openvino import opset13 as op

    beyond = op.concat([ints(0), op.add(op.mod(sides, ints(2)), ints(1)), ints(0)], 0)
    padded = op.pad(picture, ints(0, 1, 1, 0), beyond, "constant", op.constant(np.float32(0)))
    return [
        op.slice(padded, ints(*place), ints(*map(_last, place)), ints(2, 2), ints(1, 2))
        for place in np.ndindex(4, 4)
    ]


def _last(place: int) -> int:
    """Return where the pixels at a place of all tiles end."""
    return -2 if place < 2 else _TO_THE_END


def _sums(values: Sequence[Any], signs: _Matrix, bias: Array | None = None) -> list[ov.Node]:
    """Sum values of both dimensions, in each way that the rows of `signs` say for one.

    OpenVINO fuses such a chain into one node, which rounds once: so what is subtracted is summed
    first. (It does not fuse differences.)
    """
    from openvino import opset13 as op

    found = []
    for both in _both_dimensions(signs):
        plus, minus = (
            [values[place] for place in np.flatnonzero(both == s).tolist()] for s in (1, -1)
        )
        if minus:
            plus.insert(0, op.multiply(_sum(minus), op.constant(np.float32(-1))))
        if bias is not None:
            plus.append(op.constant(bias))
        found.append(op.unsqueeze(_sum(plus), ints(0)))
    return found


def _both_dimensions(sums: _Matrix) -> _Matrix:
    """Return the sums of a square, row by row, that are such sums down and across."""
    return (sums[:, None, :, None] * sums[None, :, None, :]).reshape(len(sums) ** 2, -1)


def _sum(values: Sequence[Any]) -> Any:
    from openvino import opset13 as op

    total, *rest = values
    for value in rest:
        total = op.add(total, value)
    return total


def _interleaved(pixels: ov.Node, rows: ov.Node, sides: ov.Node, channels: int) -> ov.Node:
    """Put (2, 2, rows, tiles, tiles, channels) together to (rows, height, width, channels)."""
    from openvino import opset13 as op

    even = op.multiply(op.divide(op.add(sides, ints(1)), ints(2)), ints(2))
    side_by_side = op.transpose(pixels, ints(2, 3, 0, 4, 1, 5))
    whole = op.reshape(side_by_side, op.concat([rows, even, ints(channels)], 0), special_zero=False)
    return op.slice(whole, ints(0, 0), sides, ints(1, 1), ints(1, 2))


def _on_large_pictures(graph: ov.Model, side: int) -> set[str]:
    """Return the names of convolutions that make 8x8 pixels and more of pictures of that side.

    In a graph for pictures of one size it is that size that counts.
    """
    sized = graph.clone()
    shapes = {port: port.get_partial_shape() for port in sized.inputs}
    for shape in shapes.values():
        for axis in (_HEIGHT, _WIDTH) if len(shape) == 4 else ():
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
    return [shape[axis].get_min_length() for axis in (_HEIGHT, _WIDTH)]


def _is_worth_it(node: ov.Node) -> bool:
    if not is_same_size_3x3(node) or min(node.input_value(1).get_shape()[:2]) < _LEAST_CHANNELS:
        return False
    return node.input_value(0).get_node().get_type_name() != "Interpolate"  # see upsampling


def _with_bias(convolution: ov.Node) -> tuple[ov.Node, Array | None]:
    """Return the last node of a convolution with its bias, and the bias, (out,)."""
    (first, *others) = (target.get_node() for target in convolution.output(0).get_target_inputs())
    if first.get_type_name() == "Add" and not others:
        shape = [1, convolution.input_value(1).get_shape()[0], 1, 1]
        for value in first.input_values():
            if stored(value).get_type_name() == "Constant" and list(value.get_shape()) == shape:
                return first, np.asarray(stored(value).data, np.float32).reshape(-1)
    return convolution, None
