"""CUDA's runtime on host memory, with one lazy stream after the other.

Names that begin with an underscore are this simulator's own.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import count
from typing import Any

_ARENA_BYTES = int(os.environ.get("SIMULATED_GPU_BYTES", str(2 << 30)))
_ALIGNMENT = 256
_FRESH = 0xFF  # as floats: NaN

cudaStreamNonBlocking = 1
cudaEventDefault = 0
cudaEventDisableTiming = 2


class cudaError_t(IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorInvalidResourceHandle = 400
    cudaErrorNotReady = 600
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


class cudaMemcpyKind(IntEnum):
    cudaMemcpyDefault = 4


class cudaStreamCaptureMode(IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


class cudaDeviceProp:
    name = b"Simulated GPU"
    major = 9
    minor = 0


_OK = cudaError_t.cudaSuccess
_Operation = Callable[[], None]


@dataclass
class _Stream:
    waiting: list[_Operation] = field(default_factory=list)
    submitted: int = 0
    done: int = 0
    recording: list[_Operation] | None = None
    invalidated: bool = False


@dataclass
class _Event:
    timed: bool
    place: tuple[_Stream, int] | None = None
    passed_ms: float | None = None


class _Gpu:
    """Everything that there is of the simulated GPU."""

    def __init__(self) -> None:
        self.count = 1
        self.memory = mmap.mmap(-1, _ARENA_BYTES)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.used: dict[int, int] = {}
        self.pinned: dict[int, Any] = {}
        self.streams: dict[int, _Stream] = {}
        self.events: dict[int, _Event] = {}
        self.graphs: dict[int, list[_Operation]] = {}
        self.executables: dict[int, list[_Operation]] = {}
        self.handles = count(1)
        self.launches = 0
        self.clock_ms = 0.0
        self.pinned_allocations = 0
        self.lock = threading.RLock()
        self.busy = False
        self.let_go: list[int] = []
        """Freed in the middle of an operation, when Python collected who held it."""

    def allocate(self, size: int) -> int | None:
        """Return the first gap that is large enough."""
        place = self.base + -self.base % _ALIGNMENT
        for begin, length in sorted(self.used.items()):
            if begin - place >= size:
                break
            place = begin + length
            place += -place % _ALIGNMENT
        if place + size > self.base + _ARENA_BYTES:
            return None
        self.used[place] = size
        ctypes.memset(place, _FRESH, size)
        return place

    def is_device(self, address: int) -> bool:
        return self.base <= address < self.base + _ARENA_BYTES

    def is_pinned(self, address: int, size: int) -> bool:
        return any(b <= address and address + size <= b + len(m) for b, m in self.pinned.items())

    def is_valid(self, address: int, size: int) -> bool:
        """Say whether memory may be used: all of it in one allocation, or not the GPU's at all."""
        if not self.is_device(address):
            return address != 0
        return any(b <= address and address + size <= b + n for b, n in self.used.items())


_gpu = _Gpu()


def _enqueue(stream: int, operation: _Operation) -> None:
    """Put something into a stream, or into what it records."""
    found = _gpu.streams[int(stream)]
    if found.recording is not None:
        found.recording.append(operation)
    else:
        found.waiting.append(operation)
        found.submitted += 1


def _drain(stream: _Stream, until: int | None = None) -> None:
    """Do what waits in a stream, up to a place in it."""
    until = stream.submitted if until is None else until
    with _gpu.lock:
        _gpu.busy = True
        try:
            while stream.done < until:
                stream.waiting.pop(0)()
                stream.done += 1
                _gpu.clock_ms += 1  # of this simulator: everything takes a millisecond
        finally:
            _gpu.busy = False
        while _gpu.let_go:
            cudaFree(_gpu.let_go.pop())


def _forbidden_while_recording() -> bool:
    """Invalidate every recording: the call that asks may not be made meanwhile."""
    recording = [stream for stream in _gpu.streams.values() if stream.recording is not None]
    for stream in recording:
        stream.invalidated = True
    return bool(recording)


def _copy(destination: int, source: int, count: int) -> None:
    assert _gpu.is_valid(destination, count), "memory was freed before a copy into it was done"
    assert _gpu.is_valid(source, count), "memory was freed before a copy from it was done"
    ctypes.memmove(destination, source, count)


def cudaGetDeviceCount():
    if _gpu.count:
        return _OK, _gpu.count
    return cudaError_t.cudaErrorNoDevice, None


def cudaSetDevice(device):
    return (_OK,)


def cudaGetDeviceProperties(device):
    return _OK, cudaDeviceProp()


def cudaGetErrorString(error):
    return _OK, cudaError_t(error).name.encode()


def cudaMemGetInfo():
    return _OK, _ARENA_BYTES - sum(_gpu.used.values()), _ARENA_BYTES


def cudaMalloc(size):
    if _forbidden_while_recording():
        return cudaError_t.cudaErrorStreamCaptureUnsupported, None
    place = _gpu.allocate(size)
    return (cudaError_t.cudaErrorMemoryAllocation, None) if place is None else (_OK, place)


def cudaFree(devPtr):
    if _forbidden_while_recording():
        return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
    with _gpu.lock:
        if _gpu.busy:
            _gpu.let_go.append(devPtr)
            return (_OK,)
        for stream in _gpu.streams.values():
            _drain(stream)
    return (_OK,) if _gpu.used.pop(int(devPtr), None) else (cudaError_t.cudaErrorInvalidValue,)


def cudaMallocHost(size):
    if _forbidden_while_recording():
        return cudaError_t.cudaErrorStreamCaptureUnsupported, None
    memory = ctypes.create_string_buffer(b"\xff" * size, size)
    _gpu.pinned[ctypes.addressof(memory)] = memory
    _gpu.pinned_allocations += 1
    return _OK, ctypes.addressof(memory)


def cudaMemcpyAsync(dst, src, count, kind, stream):
    if not _gpu.is_valid(dst, count) or not _gpu.is_valid(src, count):
        return (cudaError_t.cudaErrorInvalidValue,)
    found = _gpu.streams[int(stream)]
    pageable = [a for a in (dst, src) if not _gpu.is_device(a) and not _gpu.is_pinned(a, count)]
    if pageable and found.recording is not None:
        found.invalidated = True
        return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
    if src in pageable:
        staged = ctypes.create_string_buffer(ctypes.string_at(src, count), count)
        _enqueue(stream, lambda: _copy(dst, ctypes.addressof(staged), count))
    else:
        _enqueue(stream, lambda: _copy(dst, src, count))
    if dst in pageable:
        _drain(found)
    return (_OK,)


def cudaMemsetAsync(devPtr, value, count, stream):
    if not _gpu.is_valid(devPtr, count):
        return (cudaError_t.cudaErrorInvalidValue,)
    _enqueue(stream, lambda: ctypes.memset(devPtr, value, count))
    return (_OK,)


def cudaStreamCreateWithFlags(flags):
    handle = next(_gpu.handles)
    _gpu.streams[handle] = _Stream()
    return _OK, handle


def cudaStreamSynchronize(stream):
    found = _gpu.streams[int(stream)]
    if found.recording is not None:
        found.invalidated = True
        return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
    _drain(found)
    return (_OK,)


def cudaEventCreateWithFlags(flags):
    handle = next(_gpu.handles)
    _gpu.events[handle] = _Event(timed=flags != cudaEventDisableTiming)
    return _OK, handle


def cudaEventRecord(event, stream):
    found, marked = _gpu.streams[int(stream)], _gpu.events[int(event)]
    if marked.timed:
        _enqueue(stream, lambda: setattr(marked, "passed_ms", _gpu.clock_ms))
    marked.place = (found, found.submitted)
    return (_OK,)


def cudaEventQuery(event):
    place = _gpu.events[int(event)].place
    done = place is None or place[0].done >= place[1]
    return (_OK if done else cudaError_t.cudaErrorNotReady,)


def cudaEventSynchronize(event):
    if place := _gpu.events[int(event)].place:
        _drain(*place)
    return (_OK,)


def cudaEventElapsedTime(start, end):
    events = [_gpu.events[int(event)] for event in (start, end)]
    if not all(event.timed and event.place for event in events):
        return cudaError_t.cudaErrorInvalidResourceHandle, None
    first, last = (event.passed_ms for event in events)
    if first is None or last is None:
        return cudaError_t.cudaErrorNotReady, None
    return _OK, last - first


def cudaEventDestroy(event):
    del _gpu.events[int(event)]
    return (_OK,)


def cudaStreamBeginCapture(stream, mode):
    found = _gpu.streams[int(stream)]
    found.recording, found.invalidated = [], False
    return (_OK,)


def cudaStreamEndCapture(stream):
    found = _gpu.streams[int(stream)]
    recorded, found.recording = found.recording, None
    if recorded is None or found.invalidated:
        return cudaError_t.cudaErrorStreamCaptureInvalidated, None
    handle = next(_gpu.handles)
    _gpu.graphs[handle] = recorded
    return _OK, handle


def cudaGraphGetNodes(graph, numNodes=0):
    return _OK, [], len(_gpu.graphs[int(graph)])


def cudaGraphInstantiate(graph, flags):
    handle = next(_gpu.handles)
    _gpu.executables[handle] = list(_gpu.graphs[int(graph)])
    return _OK, handle


def cudaGraphDestroy(graph):
    del _gpu.graphs[int(graph)]
    return (_OK,)


def cudaGraphLaunch(graphExec, stream):
    _gpu.launches += 1
    for operation in _gpu.executables[int(graphExec)]:
        _enqueue(stream, operation)
    return (_OK,)


def cudaGraphExecDestroy(graphExec):
    del _gpu.executables[int(graphExec)]
    return (_OK,)
