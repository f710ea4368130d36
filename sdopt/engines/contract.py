"""What every backend offers: an engine, calls bound to buffers, and the device they lie on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sdopt.bundle.tensors import TensorSpec

Array = NDArray[np.generic]


class Call(Protocol):
    """A run of an engine on buffers that were bound once.

    Calling it allocates nothing, infers no shapes and builds no dictionaries on our side.
    """

    def __call__(self) -> None:
        """Run, and return when the outputs are in their buffers.

        Raises:
            EngineExecutionError: The backend failed.
        """


class Engine(Protocol):
    """A component of a bundle, ready to run.

    Attributes:
        name: The component's name, for messages.
        inputs: What the graph takes.
        outputs: What the graph gives.
        precision: What it computes in, such as ``"fp32"`` or ``"bf16"``.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    precision: str

    def bind(self, buffers: Mapping[str, Array]) -> Call:
        """Bind every input, and the outputs that are wanted, to buffers of their exact shapes.

        Args:
            buffers: C-contiguous arrays by tensor name, of the dtypes of ``inputs`` and
                ``outputs``. An output must share no memory with an input.

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
    """Where buffers lie, and how arrays get there and back."""

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        """Return a new buffer of undefined content."""
        ...

    def upload(self, array: Array, buffer: Array) -> None:
        """Copy a host array into a buffer of the same shape and type."""
        ...

    def download(self, buffer: Array, out: Array) -> None:
        """Copy a buffer into a host array of the same shape and type."""
        ...

    def synchronize(self) -> None:
        """Wait until everything that was submitted is done."""
        ...

    def capture(self, call: Call) -> Call:
        """Return a call that replays ``call`` with less overhead where the device can."""
        ...
