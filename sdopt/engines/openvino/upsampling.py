"""Convolutions behind an upsampling, computed on the small picture.

A 3x3 convolution of a picture that was made twice as large by repeating its pixels multiplies most
pixels more than once. In one dimension, with weights a, b and c and neighbours x, y and z, the two
pixels of the result at y are::

    a x + (b + c) y                      (a + b) y + c z
    (a + b + c) y + a (x - y)            (a + b + c) y + c (z - y)

The first line is a transposed convolution with stride 2 and 4 weights; in two dimensions it takes
16 products where there were 36. The second line shares a product: 9 are left, and many channels are
worth the sums. In both the large picture is never read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sdopt.engines.contract import Array
from sdopt.engines.openvino.nodes import (
    has,
    ints,
    is_same_size_3x3,
    replace,
    same_size_3x3,
    weights_of,
    with_bias,
)
from sdopt.engines.openvino.tiles import Form, convolution

if TYPE_CHECKING:
    import openvino as ov

DOUBLED = Form(
    pixels=np.array([[0, 1, 0], [1, -1, 0], [0, -1, 1]], np.float32),
    weights=np.array([[1, 1, 1], [1, 0, 0], [0, 0, 1]], np.float32),
    results=np.array([[1, 1, 0], [1, 0, 1]], np.float32),
    step=1,
)

_ROWS, _SIDES = 0, (2, 3)
_DOUBLED = np.array([1, 1, 2, 2])
_NEAREST = {
    "mode": "nearest",
    "coordinate_transformation_mode": "asymmetric",
    "nearest_mode": "floor",
    "antialias": False,
    "pads_begin": [0, 0, 0, 0],
    "pads_end": [0, 0, 0, 0],
}
_LEAST_WEIGHTS = 256 * 256 * 9
"""With fewer, parting the rows takes longer than is saved (UNet of shapes: 2 %)."""
_LEAST_CHANNELS = 512
"""With fewer, summing takes as long as is saved (256 channels, 128x128 to 256x256)."""


def fold_upsampling(graph: ov.Model, precision: str) -> int:
    """Replace upsamplings and the convolutions behind them. Return how many were replaced.

    Where the graph computes the size to upsample to, as UNets do for sides that are odd further
    down, both ways stay in it: all rows go through one of them and none through the other, which
    then costs nothing.

    Args:
        graph: Is changed.
        precision: What will be computed in.
    """
    found = [node for node in graph.get_ops() if _is_folded(node)]
    for node in found:
        upsampling = node.input_value(0).get_node()
        last, bias = with_bias(node)
        if _doubles(upsampling):
            result = _from_small(upsampling.input_value(0), node, bias, precision)
        else:
            result = _either(upsampling, node, bias, precision)
        replace(last, result)
    return len(found)


def transposed_weights(weights: Array) -> Array:
    """Return what a transposed convolution with stride 2 and padding 1 needs to do the same.

    Args:
        weights: Of the convolution, (out, in, 3, 3).

    Returns:
        (in, out, 4, 4).
    """
    for axis in _SIDES:
        first, middle, last = np.moveaxis(weights, axis, 0)
        weights = np.stack([last, middle + last, first + middle, first], axis)
    return np.ascontiguousarray(weights.swapaxes(0, 1))


def _either(upsampling: ov.Node, node: ov.Node, bias: Array | None, precision: str) -> ov.Node:
    """Compute all rows on the small picture where the sides double, and as before where not."""
    from openvino import opset13 as op

    small = upsampling.input_value(0)
    shape = op.shape_of(small)
    rows = op.gather(shape, ints(_ROWS), ints(0))
    sides = op.gather(shape, ints(*_SIDES), ints(0))
    size = op.gather(upsampling.input_value(1), ints(*_SIDES), ints(0))
    doubles = op.reduce_logical_and(op.equal(op.multiply(sides, ints(2)), size), ints(0), True)
    doubled = op.multiply(rows, op.convert(doubles, "i64"))
    fast = _from_small(_part(small, ints(0), doubled, (_ROWS,)), node, bias, precision)
    slow = _upsampled(_part(small, doubled, rows, (_ROWS,)), size, node, bias)
    # What is cut off here has no rows: only the sides have to be those of the other part.
    return op.concat([_part(fast, ints(0, 0), size, _SIDES), slow], _ROWS)


def _from_small(small: Any, node: ov.Node, bias: Array | None, precision: str) -> ov.Node:
    """Compute the convolution of the doubled picture from the small one."""
    from openvino import opset13 as op

    weights = weights_of(node)
    if min(weights.shape[:2]) >= _LEAST_CHANNELS:
        result, products = convolution(small, weights, bias, DOUBLED, precision)
    else:
        products = op.convolution_backprop_data(
            small, transposed_weights(weights), [2, 2], pads_begin=[1, 1], pads_end=[1, 1]
        )
        result = _biased(products, bias)
    products.set_friendly_name(node.get_friendly_name())  # by which profiles are read
    return result


def _biased(picture: ov.Node, bias: Array | None) -> ov.Node:
    from openvino import opset13 as op

    return picture if bias is None else op.add(picture, op.constant(bias.reshape(1, -1, 1, 1)))


def _upsampled(small: Any, size: ov.Node, node: ov.Node, bias: Array | None) -> ov.Node:
    """Upsample to a size and convolve, as the graph did."""
    from openvino import opset13 as op

    sides = ints(*_SIDES)
    large = op.interpolate(small, size, shape_calculation_mode="sizes", axes=sides, **_NEAREST)
    return _biased(same_size_3x3(large, node.input_value(1)), bias)


def _part(tensor: Any, begin: ov.Node, end: ov.Node, axes: tuple[int, ...]) -> ov.Node:
    from openvino import opset13 as op

    return op.slice(tensor, begin, end, ints(*[1] * len(axes)), ints(*axes))


def _is_folded(node: ov.Node) -> bool:
    """Say whether a node is a 3x3 convolution of what was upsampled for nothing else."""
    if not is_same_size_3x3(node):
        return False
    upsampling, weights = node.input_value(0).get_node(), node.input_value(1)
    return (
        upsampling.get_type_name() == "Interpolate"
        and has(upsampling, _NEAREST)
        and len(upsampling.output(0).get_target_inputs()) == 1
        and (_doubles(upsampling) or (_to_size(upsampling) and _count(weights) >= _LEAST_WEIGHTS))
    )


def _doubles(upsampling: ov.Node) -> bool:
    """Say whether it makes every picture exactly twice as large."""
    before, after = (_sides(port) for port in (upsampling.input_value(0), upsampling.output(0)))
    if before and after:
        return [2 * side for side in before] == after
    by_scales = upsampling.get_attributes()["shape_calculation_mode"] == "scales"
    scales = upsampling.input_value(1).get_node()
    return by_scales and scales.get_type_name() == "Constant" and (scales.data == _DOUBLED).all()


def _to_size(upsampling: ov.Node) -> bool:
    """Say whether it upsamples to a size, of all four axes, that the graph computes each time."""
    by_size = upsampling.get_attributes()["shape_calculation_mode"] == "sizes"
    computed = not _sides(upsampling.output(0))
    return by_size and computed and list(upsampling.input_value(1).get_shape()) == [4]


def _sides(port: ov.Output) -> list[int]:
    """Return height and width; nothing where any will do."""
    shape = port.get_partial_shape()
    dims = [shape[axis] for axis in _SIDES]
    return [dim.get_length() for dim in dims] if all(dim.is_static for dim in dims) else []


def _count(output: ov.Output) -> int:
    return int(np.prod(output.get_shape()))
