"""The little that the runtime needs to know about engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sdopt.bundle.tensors import TensorSpec

Array = NDArray[np.generic]
FloatArray = NDArray[np.float32]


class Call(Protocol):
    """Runs on buffers that were bound once."""

    def __call__(self) -> None:
        """Run, and return when the outputs are in their buffers."""


class Engine(Protocol):
    """A component that can be bound to buffers."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the graph takes."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the graph gives."""
        ...

    def bind(self, buffers: Mapping[str, Array]) -> Call:
        """Bind every input and the wanted outputs to buffers of their exact shapes."""
        ...


def dtype_of(engine: Engine, tensor: str) -> str:
    """Return NumPy's name of the element type of one of an engine's tensors."""
    return next(spec.dtype for spec in (*engine.inputs, *engine.outputs) if spec.name == tensor)
