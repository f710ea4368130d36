"""The little that the runtime needs to know about engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sdopt.bundle.tensors import TensorSpec

Array = NDArray[np.generic]
FloatArray = NDArray[np.float32]


class Buffer(Protocol):
    """Memory of a device; a NumPy array is one of the host's."""

    @property
    def shape(self) -> tuple[int, ...]:
        """One size per dimension."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements."""
        ...

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        ...

    def __getitem__(self, rows: slice, /) -> Buffer:
        """Return a view of consecutive rows along the first axis."""
        ...


class Reading(Protocol):
    """A copy of a buffer on its way to the host."""

    def array(self) -> NDArray[Any]:
        """Wait for the copy, and return it."""
        ...


class Mark(Protocol):
    """A place among what was submitted to a device."""

    def seconds_since(self, earlier: Any) -> float:
        """Wait for this place, and return how long the device took from an earlier mark to it."""
        ...


class Call(Protocol):
    """Runs on buffers that were bound once."""

    def __call__(self) -> None:
        """Submit the run; on the host, return when the outputs are in their buffers."""


class Device(Protocol):
    """Where buffers lie. It does what it is given in the order in which it is given."""

    @property
    def is_host(self) -> bool:
        """Whether buffers are NumPy arrays."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: str) -> Buffer:
        """Return a new buffer of undefined content."""
        ...

    def upload(self, array: Array, buffer: Buffer) -> None:
        """Copy an array, which may be changed at once, into a buffer of its shape and type."""
        ...

    def copy(self, source: Buffer, target: Buffer) -> None:
        """Copy a buffer into another of its shape and type."""
        ...

    def read(self, buffer: Buffer) -> Reading:
        """Begin to copy a buffer, as it is after what was submitted so far, into a new array."""
        ...

    def capture(self, call: Call) -> Call:
        """Return a call that replays one that has run, with less overhead where it can."""
        ...

    def mark(self) -> Mark:
        """Mark the place behind everything that was submitted so far."""
        ...


class Engine(Protocol):
    """A component that can be bound to buffers of its device."""

    @property
    def device(self) -> Device:
        """Where its buffers lie."""
        ...

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the graph takes."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the graph gives."""
        ...

    def bind(self, buffers: Mapping[str, Buffer]) -> Call:
        """Bind every input and the wanted outputs to buffers of their exact shapes."""
        ...


def dtype_of(engine: Engine, tensor: str) -> str:
    """Return NumPy's name of the element type of one of an engine's tensors."""
    return next(spec.dtype for spec in (*engine.inputs, *engine.outputs) if spec.name == tensor)
