"""The host as a device: buffers are NumPy arrays."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sdopt.engines.contract import Array, Buffer, Call
from sdopt.errors import EngineExecutionError


@dataclass(frozen=True, slots=True)
class HostReading:
    """A copy that is there already."""

    _copy: Array

    def array(self) -> Array:
        """Return the copy."""
        return self._copy


@dataclass(frozen=True, slots=True)
class HostMark:
    """A moment."""

    _at_s: float = field(default_factory=time.perf_counter)

    def seconds_since(self, earlier: HostMark) -> float:
        """Return the time between two moments."""
        return self._at_s - earlier._at_s


class HostDevice:
    """Main memory. Everything is done when it returns, so there is nothing to wait for.

    See :class:`sdopt.engines.contract.Device`.
    """

    is_host = True

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        """Return a new array of undefined content."""
        return np.empty(shape, dtype)

    def upload(self, array: Array, buffer: Buffer) -> None:
        """Copy ``array`` into ``buffer``."""
        np.copyto(host_array(buffer), array, casting="no")

    def copy(self, source: Buffer, target: Buffer) -> None:
        """Copy ``source`` into ``target``."""
        np.copyto(host_array(target), host_array(source), casting="no")

    def download(self, buffer: Buffer, out: Array) -> None:
        """Copy ``buffer`` into ``out``."""
        np.copyto(out, host_array(buffer), casting="no")

    def read(self, buffer: Buffer) -> HostReading:
        """Copy ``buffer`` now."""
        return HostReading(host_array(buffer).copy())

    def synchronize(self) -> None:
        """Return at once."""

    def capture(self, call: Call) -> Call:
        """Return ``call`` itself: a host call has no launches to save."""
        return call

    def mark(self) -> HostMark:
        """Mark this moment."""
        return HostMark()


HOST = HostDevice()
"""The host, as every engine that runs on it names it."""


def host_array(buffer: Buffer) -> Array:
    """Return a buffer of the host as what it is.

    Raises:
        TypeError: It lies on another device.
    """
    if not isinstance(buffer, np.ndarray):
        raise TypeError(f"{type(buffer).__name__} is no buffer of the host, which are arrays")
    return buffer


def host_arrays(name: str, buffers: Mapping[str, Buffer]) -> dict[str, Array]:
    """Return the buffers that an engine on the host is to be bound to.

    Args:
        name: The engine's, for messages.
        buffers: By tensor name.

    Raises:
        EngineExecutionError: One of them lies on another device.
    """
    try:
        return {tensor: host_array(buffer) for tensor, buffer in buffers.items()}
    except TypeError as error:
        raise EngineExecutionError(name, str(error)) from error
