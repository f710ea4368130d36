"""Convolutions of tiles: sums of pixels, times sums of weights, summed.

A picture is cut into square tiles that overlap. Sums and differences of a tile's pixels are
multiplied, value by value, with sums of the weights, which over all channels makes one matrix
product for each of them; and sums of those are 2x2 pixels of the result. What is summed is a
:class:`Form`. OpenVINO computes the products in one node, and each sum in one.

In bf16 sums are rounded before they are multiplied, and products before they are summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdopt.engines.contract import Array
from sdopt.engines.openvino.nodes import index, ints

if TYPE_CHECKING:
    import openvino as ov

_Matrix = NDArray[np.float32]

_HEIGHT, _WIDTH = 2, 3
_TO_THE_END = 2**31 - 1


class Form(NamedTuple):
    """What is summed, in one dimension; in two it is done down and across.

    The products of n sums make two pixels of the result, from tiles of t pixels.
    """

    pixels: _Matrix
    """(n, t), of -1, 0 and 1."""
    weights: _Matrix
    """(n, 3)."""
    results: _Matrix
    """(2, n), of -1, 0 and 1."""
    step: int
    """Pixels from one tile to the next."""


def convolution(
    picture: ov.Output, weights: _Matrix, bias: Array | None, form: Form, precision: str
) -> tuple[ov.Node, ov.Node]:
    """Convolve a picture that is padded with one pixel of zeros.

    Args:
        picture: (rows, in, height, width).
        weights: (out, in, 3, 3).
        bias: (out,)
        form: Says what is convolved: the picture, or one that is larger.
        precision: What will be computed in.

    Returns:
        The result, (rows, out, 2 / step * height, 2 / step * width), and the node of its products.
    """
    from openvino import opset13 as op

    outputs, inputs = weights.shape[:2]
    shape = op.shape_of(picture)
    rows, sides = (op.gather(shape, ints(*axes), index(0)) for axes in ((0,), (_HEIGHT, _WIDTH)))
    tiles = op.divide(op.add(sides, ints(form.step - 1)), ints(form.step))

    pixels = _tile_pixels(_channels_last(picture, shape, inputs), sides, form)
    summed = op.concat(_sums(pixels, form.pixels), 0)
    factors = op.reshape(summed, ints(len(form.pixels) ** 2, -1, inputs), special_zero=False)
    products, result = _products(factors, summed_weights(weights, form), precision)

    places = [op.gather(result, index(place), index(0)) for place in range(len(form.pixels) ** 2)]
    found = op.concat(_sums(places, form.results, bias), 0)
    grid = op.concat([ints(2, 2), rows, tiles, ints(outputs)], 0)
    whole = _interleaved(op.reshape(found, grid, False), rows, tiles, outputs)
    if form.step == 2:  # of an odd number of pixels the last tile makes one too many
        whole = op.slice(whole, ints(0, 0), sides, ints(1, 1), ints(1, 2))
    return _first_channels(whole), products


def summed_weights(weights: _Matrix, form: Form) -> _Matrix:
    """Return the sums of weights that sums of pixels are multiplied with.

    Args:
        weights: Of the convolution, (out, in, 3, 3).
        form: Says what is summed.

    Returns:
        (n * n, out, in), row by row.
    """
    outputs, inputs = weights.shape[:2]
    by_place = weights.reshape(outputs * inputs, 9).T
    return (_both_dimensions(form.weights) @ by_place).reshape(-1, outputs, inputs)


def _products(factors: ov.Node, weights: _Matrix, precision: str) -> tuple[ov.Node, ov.Node]:
    """Multiply (n * n, tiles, in) by (n * n, out, in). Return the node, and the result in fp32.

    Weights are kept in what is computed in: OpenVINO keeps what it is given, beside a copy.
    """
    from openvino import opset13 as op

    if precision != "bf16":
        products = op.matmul(factors, op.constant(weights), False, True)
        return products, products
    products = op.matmul(op.convert(factors, "bf16"), _in_bf16(weights), False, True)
    return products, op.convert(products, "f32")


def _in_bf16(values: _Matrix) -> ov.Node:
    """Round to the nearest, of two to the even one."""
    from openvino import Tensor, Type
    from openvino.op import Constant

    bits = values.view(np.uint32)
    rounded = bits >> 16
    rounded &= 1
    rounded += 0x7FFF
    rounded += bits
    rounded >>= 16
    kept = Tensor(Type.bf16, values.shape)
    kept.data.view(np.uint16)[...] = rounded
    return Constant(kept)


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


def _tile_pixels(picture: ov.Node, sides: ov.Node, form: Form) -> list[ov.Node]:
    """Return the pixels at each place of all tiles, (rows, tiles, tiles, channels)."""
    from openvino import opset13 as op

    side = form.pixels.shape[1]
    beyond = op.add(op.mod(sides, ints(form.step)), ints(1))
    end = op.concat([ints(0), beyond, ints(0)], 0)
    padded = op.pad(picture, ints(0, 1, 1, 0), end, "constant", op.constant(np.float32(0)))
    steps, axes = ints(form.step, form.step), ints(1, 2)
    ends = [*range(1 - side, 0), _TO_THE_END]
    return [
        op.slice(padded, ints(*place), ints(*(ends[i] for i in place)), steps, axes)
        for place in np.ndindex(side, side)
    ]


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
        found.append(_sum(plus))
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


def _interleaved(pixels: ov.Node, rows: ov.Node, tiles: ov.Node, channels: int) -> ov.Node:
    """Put (2, 2, rows, tiles, tiles, channels) together to (rows, height, width, channels)."""
    from openvino import opset13 as op

    side_by_side = op.transpose(pixels, ints(2, 3, 0, 4, 1, 5))
    shape = op.concat([rows, op.multiply(tiles, ints(2)), ints(channels)], 0)
    return op.reshape(side_by_side, shape, special_zero=False)
