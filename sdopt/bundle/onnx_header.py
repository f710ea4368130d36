"""What an ONNX file says of its inputs and outputs, read without the onnx package.

An ONNX file is a protocol buffer: fields with a number, each as long as it says. Nodes and weights
are stepped over, so a file of gigabytes is read in milliseconds. Field numbers are those of
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from sdopt.bundle.tensors import TensorSpec
from sdopt.errors import BundleError

_MODEL_GRAPH, _MODEL_OPSETS = 7, 8
_GRAPH_WEIGHTS, _GRAPH_INPUTS, _GRAPH_OUTPUTS = 5, 11, 12
_WEIGHT_NAME = 8
_TYPES = {
    1: "float32",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    16: "bfloat16",
}
_BYTES = 2  # the wire type of everything that has a length


@dataclass(frozen=True, slots=True)
class OnnxHeader:
    """What a graph takes and gives.

    Attributes:
        inputs: In the graph's order, without weights that old files list among them.
        outputs: In the graph's order.
        opset: Of the standard operators.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: int


def read_onnx_header(path: Path) -> OnnxHeader:
    """Read the inputs and outputs of an ONNX file.

    Raises:
        BundleError: The file is damaged, or is no ONNX file.
    """
    try:
        with path.open("rb") as file:
            return _header(file)
    except (ValueError, EOFError, IndexError, KeyError) as error:
        raise BundleError(
            f"{path} is not a readable ONNX file ({error}). Copy or download it again."
        ) from error


def _header(file: BinaryIO) -> OnnxHeader:
    inputs, outputs, weights, opset = list[TensorSpec](), list[TensorSpec](), set[str](), 0
    for number, begin, end in _fields(file, 0, os.fstat(file.fileno()).st_size):
        if number == _MODEL_OPSETS:
            domain, version = _opset(_bytes(file, begin, end))
            opset = opset if domain else version
        elif number == _MODEL_GRAPH:
            for kind, first, last in _fields(file, begin, end):
                if kind == _GRAPH_WEIGHTS:
                    weights.add(_name_of_weight(file, first, last))
                elif kind in (_GRAPH_INPUTS, _GRAPH_OUTPUTS):
                    specs = inputs if kind == _GRAPH_INPUTS else outputs
                    specs.append(_spec(_bytes(file, first, last)))
    if not outputs:
        raise ValueError("it has no graph")
    return OnnxHeader(
        tuple(spec for spec in inputs if spec.name not in weights), tuple(outputs), opset
    )


def _fields(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Step over the fields of a message, giving the number, begin and end of each with a length."""
    while begin < end:
        file.seek(begin)
        key = _varint(file)
        number, wire = key >> 3, key & 7
        if wire == 0:
            start = file.tell()
            _varint(file)
            begin = file.tell()
            yield number, start, begin
            continue
        length = _varint(file) if wire == _BYTES else {1: 8, 5: 4}[wire]
        start = file.tell()
        begin = start + length
        if begin > end:
            raise EOFError("it is cut off")
        yield number, start, begin


def _varint(file: BinaryIO) -> int:
    value = shift = 0
    while True:
        byte = file.read(1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
        shift += 7


def _bytes(file: BinaryIO, begin: int, end: int) -> bytes:
    file.seek(begin)
    return file.read(end - begin)


def _parts(message: bytes, number: int) -> list[bytes]:
    file = BytesIO(message)
    return [_bytes(file, b, e) for n, b, e in _fields(file, 0, len(message)) if n == number]


def _number(message: bytes, field: int) -> int:
    parts = _parts(message, field)
    return _varint(BytesIO(parts[0])) if parts else 0


def _text(message: bytes, field: int) -> str:
    parts = _parts(message, field)
    return parts[0].decode() if parts else ""


def _opset(message: bytes) -> tuple[str, int]:
    return _text(message, 1), _number(message, 2)


def _name_of_weight(file: BinaryIO, begin: int, end: int) -> str:
    for number, first, last in _fields(file, begin, end):
        if number == _WEIGHT_NAME:
            return _bytes(file, first, last).decode()
    return ""


def _spec(message: bytes) -> TensorSpec:
    """Read a ValueInfoProto: name, and a type with element type and dimensions."""
    name = _text(message, 1)
    tensor = _parts(_parts(message, 2)[0], 1)[0]
    shapes = _parts(tensor, 2)
    dimensions = _parts(shapes[0], 1) if shapes else []
    return TensorSpec(name, _TYPES[_number(tensor, 1)], tuple(map(_dimension, dimensions)))


def _dimension(message: bytes) -> int | str:
    return _number(message, 1) or _text(message, 2) or "?"
