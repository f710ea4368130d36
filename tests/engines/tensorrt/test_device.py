"""The GPU as a device, on the simulated one: order, lifetimes, graphs."""

from __future__ import annotations

import gc
import logging
from types import ModuleType

import numpy as np
import pytest

from sdopt.engines.cuda.device import CudaDevice
from sdopt.engines.cuda.graph import GraphCall
from sdopt.engines.cuda.runtime import find_gpu
from sdopt.errors import DeviceMemoryError, ProviderUnavailableError

ROW = np.arange(3, dtype=np.float32)


def test_what_is_uploaded_can_be_read(device: CudaDevice) -> None:
    buffer = device.empty((2, 3), "float32")
    array = np.stack([ROW, ROW + 10])
    device.upload(array, buffer)
    out = np.zeros((2, 3), np.float32)
    device.download(buffer, out)
    assert np.array_equal(out, array)
    assert (buffer.shape, buffer.dtype, buffer.nbytes, buffer.ndim) == ((2, 3), "float32", 24, 2)


def test_an_array_may_be_changed_as_soon_as_it_is_uploaded(device: CudaDevice) -> None:
    buffer, array = device.empty((3,), "float32"), ROW.copy()
    device.upload(array, buffer)
    array[:] = -1
    assert np.array_equal(device.read(buffer).array(), ROW)


def test_uploads_and_reads_wait_for_nothing(gpu: ModuleType, device: CudaDevice) -> None:
    buffer = device.empty((3,), "float32")
    device.synchronize()
    (stream,) = [s for h, s in gpu._gpu.streams.items() if h == device.stream]
    before = stream.done
    device.upload(ROW, buffer)
    first = device.read(buffer)
    device.upload(ROW + 1, buffer)
    second = device.read(buffer)
    assert stream.done == before
    assert np.array_equal(first.array(), ROW)
    assert stream.done == before + 2, "reading waits for what lies before it, and for no more"
    assert np.array_equal(second.array(), ROW + 1)


def test_pinned_memory_is_used_again(gpu: ModuleType, device: CudaDevice) -> None:
    buffer = device.empty((1000,), "float32")
    for value in range(3):
        device.upload(np.full(1000, value, np.float32), buffer)
        device.read(buffer).array()
    taken = gpu._gpu.pinned_allocations
    for value in range(20):
        device.upload(np.full(1000, value, np.float32), buffer)
        assert device.read(buffer).array()[0] == value
    assert gpu._gpu.pinned_allocations == taken


def test_a_reading_that_is_kept_keeps_its_values(device: CudaDevice) -> None:
    buffer, kept = device.empty((3,), "float32"), []
    for value in range(5):
        device.upload(ROW + value, buffer)
        kept.append(device.read(buffer).array())
    assert all(np.array_equal(array, ROW + value) for value, array in enumerate(kept))


def test_a_slice_is_the_same_memory(device: CudaDevice) -> None:
    buffer = device.empty((4, 3), "float32")
    device.upload(np.zeros((4, 3), np.float32), buffer)
    assert buffer[:2].address == buffer.address
    assert buffer[:2].shape == (2, 3)
    assert len(buffer[1:]) == 3
    device.upload(np.stack([ROW, ROW]), buffer[1:3])
    assert np.array_equal(device.read(buffer).array()[1:3], np.stack([ROW, ROW]))
    with pytest.raises(IndexError, match="a buffer has no gaps"):
        buffer[::2]


def test_buffers_are_copied_in_order(device: CudaDevice) -> None:
    source, target = device.empty((3,), "float32"), device.empty((3,), "float32")
    device.upload(ROW, source)
    device.copy(source, target)
    device.upload(ROW + 5, source)
    assert np.array_equal(device.read(target).array(), ROW)


def test_copies_between_different_shapes_are_refused(device: CudaDevice) -> None:
    with pytest.raises(ValueError) as caught:
        device.upload(np.zeros(3, np.float64), device.empty((3,), "float32"))
    assert str(caught.value) == "A buffer of float64(3,) is no copy of float32(3,)"


def test_memory_is_freed_with_its_last_user(gpu: ModuleType, device: CudaDevice) -> None:
    gc.collect()
    before = dict(gpu._gpu.used)
    buffer = device.empty((1000, 1000), "float32")
    rows = buffer[:10]
    del buffer
    gc.collect()
    assert len(gpu._gpu.used) == len(before) + 1
    del rows
    gc.collect()
    assert gpu._gpu.used == before


def test_too_little_memory_is_an_error_in_words(device: CudaDevice) -> None:
    with pytest.raises(DeviceMemoryError) as caught:
        device.empty((1 << 20, 1 << 20), "float32")
    assert str(caught.value).startswith("4398.0 GB of the GPU's memory are needed, and 2.1 GB are ")
    assert str(caught.value).endswith(
        "End other programs on it, or ask for fewer or smaller pictures at a time."
    )


def test_without_a_gpu(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu._gpu, "count", 0)
    with pytest.raises(ProviderUnavailableError) as caught:
        find_gpu()
    assert str(caught.value) == (
        "'cuda' is not available here. Available: cpu. CUDA needs an NVIDIA GPU and its driver; "
        "`nvidia-smi` tells whether both are there: cudaErrorNoDevice."
    )


def test_a_graph_does_the_same_with_one_launch(gpu: ModuleType, device: CudaDevice) -> None:
    buffers = [device.empty((3,), "float32") for _ in range(3)]

    def call() -> None:
        device.copy(buffers[0], buffers[1])
        device.copy(buffers[1], buffers[2])

    device.upload(ROW, buffers[0])
    call()
    graph = device.capture(call)
    device.upload(ROW + 7, buffers[0])
    assert np.array_equal(device.read(buffers[2]).array(), ROW), "capturing did not run it"
    launches = gpu._gpu.launches
    graph()
    assert np.array_equal(device.read(buffers[2]).array(), ROW + 7)
    assert gpu._gpu.launches == launches + 1


def test_a_graph_keeps_its_buffers_and_is_dropped_with_its_call(
    gpu: ModuleType, device: CudaDevice
) -> None:
    def make() -> object:
        source, target = device.empty((3,), "float32"), device.empty((3,), "float32")
        device.upload(ROW, source)
        return device.capture(lambda: device.copy(source, target))

    gc.collect()
    before, memory = len(gpu._gpu.executables), dict(gpu._gpu.used)
    graph = make()
    gc.collect()
    assert len(gpu._gpu.used) == len(memory) + 2
    graph()  # type: ignore[operator]
    device.synchronize()
    assert len(gpu._gpu.executables) == before + 1
    assert not gpu._gpu.graphs
    del graph
    gc.collect()
    assert len(gpu._gpu.executables) == before
    assert gpu._gpu.used == memory


def test_what_records_nothing_runs_without_a_graph(
    device: CudaDevice, caplog: pytest.LogCaptureFixture
) -> None:
    def call() -> None:
        pass

    with caplog.at_level(logging.WARNING):
        assert device.capture(call) is call
    assert caplog.messages == [
        "Going on without a CUDA graph: the call put nothing into the stream."
    ]


def test_what_cannot_be_recorded_runs_without_a_graph(
    gpu: ModuleType, device: CudaDevice, caplog: pytest.LogCaptureFixture
) -> None:
    buffer = device.empty((3,), "float32")
    with caplog.at_level(logging.WARNING):
        assert device.capture(device.synchronize) == device.synchronize
    assert caplog.messages == [
        "Going on without a CUDA graph: The GPU failed in cudaStreamSynchronize: "
        "cudaErrorStreamCaptureUnsupported."
    ]
    device.upload(ROW, buffer)  # the stream is as good as before
    assert np.array_equal(device.read(buffer).array(), ROW)
    assert not isinstance(device.capture(device.synchronize), GraphCall)


def test_memory_that_is_let_go_in_the_middle_of_an_operation(
    gpu: ModuleType, device: CudaDevice
) -> None:
    """Python may collect a buffer at any time: what waits behind the operation is done in order."""
    held, seen = [device.empty((3,), "float32")], []
    place = held[0].address

    def operation() -> None:
        held.clear()
        gc.collect()
        seen.append("first")

    gpu._enqueue(device.stream, operation)
    gpu._enqueue(device.stream, lambda: seen.append("second"))
    device.synchronize()
    assert seen == ["first", "second"]
    assert not gpu._gpu.is_valid(place, 12)
