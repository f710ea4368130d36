"""What every backend offers: an engine, calls bound to buffers, and the device they lie on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sdopt.bundle.tensors import TensorSpec

Array = NDArray[np.generic]


class Buffer(Protocol):
    """Memory of a device, contiguous, with a shape and a type. On the host: a NumPy array."""

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
        """Return a view of consecutive rows along the first axis: the same memory, not a copy."""
        ...


class Reading(Protocol):
    """A copy of a buffer on its way to the host."""

    def array(self) -> Array:
        """Wait for the copy, and for nothing that was submitted after it; return it.

        Raises:
            EngineExecutionError: What was submitted before it failed.
        """
        ...


class Mark(Protocol):
    """A place among what was submitted to a device, with the time at which the device passed it."""

    def seconds_since(self, earlier: Any) -> float:
        """Wait for this place, and return how long the device took from an earlier one to it.

        Args:
            earlier: A mark of the same device.
        """
        ...


class Call(Protocol):
    """A run of an engine on buffers that were bound once.

    Calling it allocates nothing, infers no shapes and builds no dictionaries on our side.
    """

    def __call__(self) -> None:
        """Submit the run; on the host, return when the outputs are in their buffers.

        A device does what it is given in the order in which it is given: uploads, calls, copies
        and reads. So nobody has to wait between two of them.

        Raises:
            EngineExecutionError: The backend failed, or refused the call.
        """


class Engine(Protocol):
    """A component of a bundle, ready to run.

    Attributes:
        name: The component's name, for messages.
        inputs: What the graph takes.
        outputs: What the graph gives.
        precision: What it computes in, such as ``"fp32"`` or ``"bf16"``.
        device: Where its buffers lie. Engines that were opened alike share one device, so that a
            buffer can be the output of one and the input of another.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    precision: str

    @property
    def device(self) -> Device: ...  # noqa: D102 - see above

    def bind(self, buffers: Mapping[str, Buffer]) -> Call:
        """Bind every input, and the outputs that are wanted, to buffers of their exact shapes.

        Args:
            buffers: Buffers of the engine's device by tensor name, C-contiguous, of the dtypes of
                ``inputs`` and ``outputs``. An output must share no memory with an input.

        Returns:
            A call that keeps the buffers alive.

        Raises:
            EngineExecutionError: A buffer is missing, unknown, or of another type or rank.
        """
        ...

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once on new arrays and return every output; for tests and tools.

        Raises:
            EngineExecutionError: The backend failed.
        """
        ...


class Device(Protocol):
    """Where buffers lie, and how arrays get there and back.

    Uploads, copies, reads and calls happen in the order in which they are submitted, and may
    return before they have happened.

    Attributes:
        is_host: Whether buffers are NumPy arrays, so that NumPy can compute on them.
    """

    @property
    def is_host(self) -> bool: ...  # noqa: D102 - see above

    def empty(self, shape: tuple[int, ...], dtype: str) -> Buffer:
        """Return a new buffer of undefined content."""
        ...

    def upload(self, array: Array, buffer: Buffer) -> None:
        """Copy a host array into a buffer of the same shape and type.

        The array may be changed as soon as this returns: a device that copies later keeps a copy
        of it (in page-locked memory) until then.
        """
        ...

    def copy(self, source: Buffer, target: Buffer) -> None:
        """Copy a buffer into another of the same shape and type on the same device."""
        ...

    def download(self, buffer: Buffer, out: Array) -> None:
        """Copy a buffer into a host array of the same shape and type; return when it is there."""
        ...

    def read(self, buffer: Buffer) -> Reading:
        """Begin to copy a buffer, as it is after what was submitted so far, into a new array."""
        ...

    def synchronize(self) -> None:
        """Wait until everything that was submitted is done."""
        ...

    def capture(self, call: Call) -> Call:
        """Return a call that replays ``call`` with less overhead where the device can.

        Args:
            call: Makes engine calls on bound buffers, and copies between buffers. It has run
                before, and submits the same each time. It does not run now.
        """
        ...

    def mark(self) -> Mark:
        """Mark the place behind everything that was submitted so far, to time what lies between."""
        ...
