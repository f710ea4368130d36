"""The check of buffers that every backend makes before it binds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sdopt.bundle.tensors import TensorSpec
from sdopt.engines.contract import Buffer
from sdopt.errors import EngineExecutionError


def check_buffers(
    name: str,
    buffers: Mapping[str, Buffer],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
) -> None:
    """Check that every input has a buffer, and that each buffer fits its tensor.

    Args:
        name: The component's name, for messages.
        buffers: By tensor name.
        inputs: What the graph takes.
        outputs: What the graph gives; not all of them need a buffer.

    Raises:
        EngineExecutionError: A buffer is missing, unknown, or of another type or shape.
    """
    specs = {spec.name: spec for spec in (*inputs, *outputs)}
    if unknown := sorted(buffers.keys() - specs.keys()):
        there = ", ".join(map(str, specs.values()))
        raise EngineExecutionError(name, f"There are no tensors {unknown}; there are {there}")
    if missing := [spec.name for spec in inputs if spec.name not in buffers]:
        raise EngineExecutionError(name, f"Inputs without a buffer: {missing}")
    for tensor, buffer in buffers.items():
        if not _fits(buffer, specs[tensor]):
            given = f"dtype {buffer.dtype} and shape {buffer.shape}"
            raise EngineExecutionError(name, f"The buffer for {specs[tensor]} has {given}")


def _fits(buffer: Buffer, spec: TensorSpec) -> bool:
    return (
        _contiguous(buffer)
        and buffer.dtype == spec.dtype
        and len(buffer.shape) == len(spec.shape)
        and all(
            isinstance(want, str) or want == have
            for want, have in zip(spec.shape, buffer.shape, strict=True)
        )
    )


def _contiguous(buffer: Buffer) -> bool:
    """Say whether a buffer is C-contiguous, as every buffer is that is no array."""
    return not isinstance(buffer, np.ndarray) or buffer.flags.c_contiguous
