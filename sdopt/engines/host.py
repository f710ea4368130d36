"""The host as a device: buffers are NumPy arrays."""

from __future__ import annotations

import numpy as np

from sdopt.engines.contract import Array, Call


class HostDevice:
    """Main memory. Everything is done when it returns, so there is nothing to wait for."""

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        """Return a new array of undefined content."""
        return np.empty(shape, dtype)

    def upload(self, array: Array, buffer: Array) -> None:
        """Copy ``array`` into ``buffer``."""
        np.copyto(buffer, array, casting="no")

    def download(self, buffer: Array, out: Array) -> None:
        """Copy ``buffer`` into ``out``."""
        np.copyto(out, buffer, casting="no")

    def synchronize(self) -> None:
        """Return at once."""

    def capture(self, call: Call) -> Call:
        """Return ``call`` itself: a host call has no launches to save."""
        return call
