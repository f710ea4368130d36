"""Memory of the GPU, and pinned memory of the host: owned by whoever holds it."""

from __future__ import annotations

import ctypes
import weakref
from collections import defaultdict
from math import prod

import numpy as np
from numpy.typing import DTypeLike

from sdopt.engines.contract import Array
from sdopt.engines.cuda import runtime


class Allocation:
    """A piece of the GPU's memory, freed with the last reference to this object.

    Attributes:
        address: Where it begins; a multiple of 256.
        nbytes: How long it is.
    """

    __slots__ = ("__weakref__", "address", "nbytes")

    def __init__(self, nbytes: int) -> None:
        """Take memory.

        Raises:
            DeviceMemoryError: There is not so much.
        """
        self.address, self.nbytes = runtime.allocate(nbytes), nbytes
        runtime.free_memory_with(self, self.address)


class DeviceBuffer:
    """An array on the GPU, C-contiguous. It has no arithmetic: engines read and write it.

    Attributes:
        shape: Its dimensions.
        dtype: Of its elements, as NumPy knows them.
        address: Where its first element lies.
    """

    __slots__ = ("_owner", "address", "dtype", "shape")

    def __init__(
        self, owner: Allocation, shape: tuple[int, ...], dtype: DTypeLike, address: int
    ) -> None:
        self._owner, self.shape, self.dtype = owner, shape, np.dtype(dtype)
        self.address = address

    @classmethod
    def empty(cls, shape: tuple[int, ...], dtype: DTypeLike) -> DeviceBuffer:
        """Return a new buffer of undefined content.

        Raises:
            DeviceMemoryError: There is not so much memory.
        """
        owner = Allocation(prod(shape) * np.dtype(dtype).itemsize)
        return cls(owner, shape, dtype, owner.address)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """The length in bytes."""
        return prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> DeviceBuffer:
        """Return a view of some rows in a row; ``buffer[:n]`` begins at the same address."""
        start, stop, step = rows.indices(self.shape[0])
        if step != 1:
            raise IndexError(f"{rows} takes other rows than those in between; a buffer has no gaps")
        shape = (max(stop - start, 0), *self.shape[1:])
        row_bytes = prod(self.shape[1:]) * self.dtype.itemsize
        return DeviceBuffer(self._owner, shape, self.dtype, self.address + start * row_bytes)


class PinnedMemory:
    """Host memory that the GPU reads and writes while the host goes on.

    Taking it from the system stops the GPU, so what is given back is kept for the next of its size.
    """

    def __init__(self) -> None:
        self._free: defaultdict[int, list[int]] = defaultdict(list)

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """Return an array of undefined content; its memory comes back with the last view of it."""
        kind = np.dtype(dtype)
        nbytes = prod(shape) * kind.itemsize
        free = self._free[nbytes]
        address = free.pop() if free else runtime.allocate_pinned(nbytes)
        memory = (ctypes.c_char * max(nbytes, 1)).from_address(address)
        weakref.finalize(memory, free.append, address).atexit = False
        return np.frombuffer(memoryview(memory), kind, count=prod(shape)).reshape(shape)
