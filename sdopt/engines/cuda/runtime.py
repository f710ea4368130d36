"""Every call into CUDA's runtime that sdopt makes. A status that is not success is an error.

No other module imports ``cuda``. Addresses, streams, events and graphs are plain numbers outside.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sdopt.errors import (
    DeviceError,
    DeviceMemoryError,
    MissingDependencyError,
    ProviderUnavailableError,
)

_HINT = "CUDA needs an NVIDIA GPU and its driver; `nvidia-smi` tells whether both are there"


@dataclass(frozen=True, slots=True)
class Gpu:
    """The GPU that is used.

    Attributes:
        name: Its own name, such as ``"NVIDIA H200"``.
        compute_capability: Such as ``"9.0"``.
    """

    name: str
    compute_capability: str


def library() -> Any:
    """Import CUDA's runtime bindings.

    Raises:
        MissingDependencyError: They are not installed.
    """
    try:
        from cuda.bindings import runtime as cudart
    except ImportError as error:
        raise MissingDependencyError("cuda-bindings", "gpu") from error
    return cudart


def find_gpu() -> Gpu:
    """Describe the first GPU, and make it the one that this thread uses.

    Raises:
        MissingDependencyError: cuda-bindings is not installed.
        ProviderUnavailableError: There is no GPU, or no driver for it.
    """
    cudart = library()
    status, count = cudart.cudaGetDeviceCount()
    if status != cudart.cudaError_t.cudaSuccess or not count:
        reason = _text(status) if count is None else "there is no GPU"
        raise ProviderUnavailableError("cuda", ("cpu",), f"{_HINT}: {reason}")
    _checked(cudart.cudaSetDevice, 0)
    (properties,) = _checked(cudart.cudaGetDeviceProperties, 0)
    name = properties.name.decode() if isinstance(properties.name, bytes) else properties.name
    return Gpu(str(name).rstrip("\0"), f"{properties.major}.{properties.minor}")


def free_bytes() -> int:
    """Return how much of the GPU's memory is free."""
    free, _ = _checked(library().cudaMemGetInfo)
    return int(free)


def allocate(nbytes: int) -> int:
    """Allocate memory on the GPU and return its address; 256-byte aligned.

    Raises:
        DeviceMemoryError: There is not so much.
    """
    cudart = library()
    status, address = cudart.cudaMalloc(max(nbytes, 1))
    if status == cudart.cudaError_t.cudaErrorMemoryAllocation:
        raise DeviceMemoryError(nbytes, free_bytes())
    _check(status, "cudaMalloc")
    return int(address)


def allocate_pinned(nbytes: int) -> int:
    """Allocate host memory that the GPU writes into while the host goes on; it is never freed."""
    (address,) = _checked(library().cudaMallocHost, max(nbytes, 1))
    return int(address)


def copy(destination: int, source: int, nbytes: int, stream: int) -> None:
    """Copy, in the stream's order, between any two of host and GPU.

    Pageable host memory has been read when this returns; pinned memory is read when its turn comes.
    """
    cudart = library()
    kind = cudart.cudaMemcpyKind.cudaMemcpyDefault
    _checked(cudart.cudaMemcpyAsync, destination, source, nbytes, kind, stream)


def clear(address: int, nbytes: int, stream: int) -> None:
    """Fill memory of the GPU with zeros, in the stream's order."""
    _checked(library().cudaMemsetAsync, address, 0, nbytes, stream)


def new_stream() -> int:
    """Make a stream that does not wait for the default stream."""
    cudart = library()
    (stream,) = _checked(cudart.cudaStreamCreateWithFlags, cudart.cudaStreamNonBlocking)
    return int(stream)


def synchronize(stream: int) -> None:
    """Wait until everything that was put into the stream is done."""
    _checked(library().cudaStreamSynchronize, stream)


def new_event(stream: int) -> int:
    """Mark a place in the stream, to wait for what lies before it."""
    cudart = library()
    (event,) = _checked(cudart.cudaEventCreateWithFlags, cudart.cudaEventDisableTiming)
    _checked(cudart.cudaEventRecord, event, stream)
    return int(event)


def new_timed_event(stream: int) -> int:
    """Mark a place in the stream, and have the GPU note when it passes it."""
    cudart = library()
    (event,) = _checked(cudart.cudaEventCreateWithFlags, cudart.cudaEventDefault)
    _checked(cudart.cudaEventRecord, event, stream)
    return int(event)


def seconds_between(first: int, second: int) -> float:
    """Return the time from one timed event to another; both have been passed."""
    (milliseconds,) = _checked(library().cudaEventElapsedTime, first, second)
    return float(milliseconds) / 1e3


def is_done(event: int) -> bool:
    """Say whether everything before an event is done."""
    cudart = library()
    (status,) = cudart.cudaEventQuery(event)
    if status == cudart.cudaError_t.cudaErrorNotReady:
        return False
    _check(status, "cudaEventQuery")
    return True


def wait_for(event: int) -> None:
    """Wait until everything before an event is done."""
    _checked(library().cudaEventSynchronize, event)


def capture(stream: int, work: Callable[[], None]) -> tuple[int, int]:
    """Record what ``work`` puts into a stream, without doing it.

    Returns:
        A graph that can be launched, and how many nodes it has.

    Raises:
        DeviceError: Some of it cannot be recorded.
    """
    cudart = library()
    mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    with _no_garbage_collection():
        _checked(cudart.cudaStreamBeginCapture, stream, mode)
        try:
            work()
        except BaseException:
            cudart.cudaStreamEndCapture(stream)  # or the stream would be lost for everything else
            raise
        (graph,) = _checked(cudart.cudaStreamEndCapture, stream)
    try:
        _, nodes = _checked(cudart.cudaGraphGetNodes, graph)
        (executable,) = _checked(cudart.cudaGraphInstantiate, graph, 0)
    finally:
        _checked(cudart.cudaGraphDestroy, graph)
    return int(executable), int(nodes)


def launch(executable: int, stream: int) -> None:
    """Do everything that a graph recorded."""
    _checked(library().cudaGraphLaunch, executable, stream)


def free_memory_with(owner: object, address: int) -> None:
    """Free memory of the GPU when its owner goes."""
    _when_gone(owner, library().cudaFree, address)


def free_event_with(owner: object, event: int) -> None:
    """Forget an event when its owner goes."""
    _when_gone(owner, library().cudaEventDestroy, event)


def free_graph_with(owner: object, executable: int) -> None:
    """Free a graph when its owner goes."""
    _when_gone(owner, library().cudaGraphExecDestroy, executable)


def _when_gone(owner: object, free: Callable[[int], object], handle: int) -> None:
    """Call a function of CUDA's at the owner's end; nobody is left to hear of its failure.

    Not at the end of the process, which frees everything, and where CUDA may be gone already.
    """
    weakref.finalize(owner, free, handle).atexit = False


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Let no memory be freed meanwhile: CUDA takes a `cudaFree` as the end of a recording."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _checked(function: Any, *arguments: object) -> tuple[Any, ...]:
    status, *results = function(*arguments)
    _check(status, function.__name__)
    return tuple(results)


def _check(status: Any, name: str) -> None:
    if status != library().cudaError_t.cudaSuccess:
        raise DeviceError(name, _text(status))


def _text(status: Any) -> str:
    _, text = library().cudaGetErrorString(status)
    return str(text.decode() if isinstance(text, bytes) else text)
