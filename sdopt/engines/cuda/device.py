"""The GPU as a device: buffers, one stream that does everything in order, and graphs."""

from __future__ import annotations

import threading
from collections import deque
from functools import cache

import numpy as np

from sdopt.engines.contract import Array, Buffer, Call
from sdopt.engines.cuda import runtime
from sdopt.engines.cuda.graph import GraphCall
from sdopt.engines.cuda.memory import Allocation, DeviceBuffer, PinnedMemory


class CudaDevice:
    """The first GPU. See :class:`sdopt.engines.contract.Device`.

    There is one stream, so that everything happens in the order in which it was submitted, by
    whichever thread, and engines may share their scratch memory.

    Attributes:
        gpu: Its name and compute capability.
        stream: Handle of the stream.
        lock: Held while something is put into the stream that must not be torn apart.
    """

    is_host = False

    def __init__(self) -> None:
        """Find the GPU.

        Raises:
            MissingDependencyError: cuda-bindings is not installed.
            ProviderUnavailableError: There is no GPU, or no driver for it.
        """
        self.gpu = runtime.find_gpu()
        self.stream = runtime.new_stream()
        self.lock = threading.RLock()
        self._pinned = PinnedMemory()
        self._in_flight: deque[tuple[Event, Array]] = deque()
        self._scratch_bytes = 0
        self._scratch: Allocation | None = None

    def empty(self, shape: tuple[int, ...], dtype: str) -> DeviceBuffer:
        """Return a new buffer of undefined content.

        Raises:
            DeviceMemoryError: There is not so much memory.
        """
        return DeviceBuffer.empty(shape, dtype)

    def upload(self, array: Array, buffer: Buffer) -> None:
        """Copy ``array`` into ``buffer``, by way of pinned memory: nothing is waited for."""
        target = on_gpu(buffer)
        _check_alike(array, target)
        with self.lock:
            staging = self._staging(target)
            np.copyto(staging, array, casting="no")
            runtime.copy(target.address, staging.ctypes.data, target.nbytes, self.stream)
            self._in_flight.append((Event(self.stream), staging))

    def copy(self, source: Buffer, target: Buffer) -> None:
        """Copy ``source`` into ``target``."""
        from_, to = on_gpu(source), on_gpu(target)
        _check_alike(from_, to)
        with self.lock:
            runtime.copy(to.address, from_.address, to.nbytes, self.stream)

    def download(self, buffer: Buffer, out: Array) -> None:
        """Copy ``buffer`` into ``out``."""
        _check_alike(buffer, out)
        np.copyto(out, self.read(buffer).array(), casting="no")

    def read(self, buffer: Buffer) -> CudaReading:
        """Begin to copy ``buffer`` into pinned memory."""
        source = on_gpu(buffer)
        with self.lock:
            target = self._staging(source)
            runtime.copy(target.ctypes.data, source.address, source.nbytes, self.stream)
            event = Event(self.stream)
            self._in_flight.append((event, target))
        return CudaReading(target, event)

    def synchronize(self) -> None:
        """Wait until everything that was submitted is done; no recording is under way meanwhile."""
        with self.lock:
            runtime.synchronize(self.stream)

    def capture(self, call: Call) -> Call:
        """Return a CUDA graph of ``call``; ``call`` itself, with a warning, where none can be made.

        See :class:`sdopt.engines.cuda.graph.GraphCall`.
        """
        with self.lock:
            return GraphCall.of(call, self.stream, self.lock)

    def mark(self) -> TimedEvent:
        """Record an event that keeps the time."""
        with self.lock:
            return TimedEvent(self.stream)

    def reserve_scratch(self, nbytes: int) -> None:
        """Say how much scratch memory an engine will need at most, before any is handed out."""
        self._scratch_bytes = max(self._scratch_bytes, nbytes)

    def scratch(self) -> Allocation:
        """Return memory that every call may use while it runs: no two run at once.

        It is as large as the largest reservation so far. Calls that hold a smaller one keep it.
        """
        if self._scratch is None or self._scratch.nbytes < self._scratch_bytes:
            self._scratch = None  # first free the smaller one, if nobody holds it
            self._scratch = Allocation(self._scratch_bytes)
        return self._scratch

    def _staging(self, like: DeviceBuffer) -> Array:
        """Return a pinned array; those whose copies are done are let go."""
        while self._in_flight and self._in_flight[0][0].is_done():
            self._in_flight.popleft()
        return self._pinned.array(like.shape, like.dtype)


class Event:
    """A place in the stream."""

    __slots__ = ("__weakref__", "_event")

    def __init__(self, stream: int) -> None:
        self._event = runtime.new_event(stream)
        runtime.free_event_with(self, self._event)

    def is_done(self) -> bool:
        """Say whether everything before it is done."""
        return runtime.is_done(self._event)

    def wait(self) -> None:
        """Wait until everything before it is done."""
        runtime.wait_for(self._event)


class TimedEvent:
    """A place in the stream, and when the GPU passed it, to about half a microsecond."""

    __slots__ = ("__weakref__", "_event")

    def __init__(self, stream: int) -> None:
        self._event = runtime.new_timed_event(stream)
        runtime.free_event_with(self, self._event)

    def seconds_since(self, earlier: TimedEvent) -> float:
        """Wait for this place. See :class:`sdopt.engines.contract.Mark`."""
        runtime.wait_for(self._event)
        return runtime.seconds_between(earlier._event, self._event)


class CudaReading:
    """A copy on its way to the host. See :class:`sdopt.engines.contract.Reading`."""

    __slots__ = ("_event", "_target")

    def __init__(self, target: Array, event: Event) -> None:
        self._target, self._event = target, event

    def array(self) -> Array:
        """Wait for the copy, and return it."""
        self._event.wait()
        return self._target


@cache
def shared_device() -> CudaDevice:
    """Return the device that all engines of this process share.

    Raises:
        MissingDependencyError: cuda-bindings is not installed.
        ProviderUnavailableError: There is no GPU, or no driver for it.
    """
    return CudaDevice()


def on_gpu(buffer: Buffer) -> DeviceBuffer:
    """Return a buffer of the GPU as what it is.

    Raises:
        TypeError: It lies on another device.
    """
    if not isinstance(buffer, DeviceBuffer):
        raise TypeError(f"{type(buffer).__name__} is no buffer of the GPU")
    return buffer


def _check_alike(source: Buffer, target: Buffer) -> None:
    """Refuse copies between buffers of different shapes or types: memory has neither."""
    if source.shape != target.shape or source.dtype != target.dtype:
        raise ValueError(
            f"A buffer of {source.dtype}{source.shape} is no copy of {target.dtype}{target.shape}"
        )
