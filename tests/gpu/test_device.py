"""The real GPU as a device. Not run yet: see docs/tensorrt.md."""

from __future__ import annotations

import numpy as np
import pytest

from sdopt.engines.cuda.device import CudaDevice
from sdopt.engines.cuda.graph import GraphCall
from sdopt.engines.cuda.runtime import free_bytes
from sdopt.errors import DeviceMemoryError

pytestmark = pytest.mark.gpu
ROW = np.arange(1000, dtype=np.float32)


def test_what_is_uploaded_can_be_read(device: CudaDevice) -> None:
    buffer, array = device.empty((1000,), "float32"), ROW.copy()
    device.upload(array, buffer)
    array[:] = -1
    assert np.array_equal(device.read(buffer).array(), ROW)


def test_everything_happens_in_order(device: CudaDevice) -> None:
    source, target = device.empty((1000,), "float32"), device.empty((1000,), "float32")
    readings = []
    for value in range(100):
        device.upload(ROW + value, source)
        device.copy(source, target)
        readings.append(device.read(target))
    for value, reading in enumerate(readings):
        assert np.array_equal(reading.array(), ROW + value)


def test_a_graph_does_the_same(device: CudaDevice) -> None:
    source, target = device.empty((1000,), "float32"), device.empty((1000,), "float32")

    def call() -> None:
        device.copy(source, target)

    device.upload(ROW, source)
    call()
    graph = device.capture(call)
    assert isinstance(graph, GraphCall)
    device.upload(ROW + 7, source)
    graph()
    assert np.array_equal(device.read(target).array(), ROW + 7)


def test_memory_comes_back(device: CudaDevice) -> None:
    device.empty((1,), "float32")
    before = free_bytes()
    for _ in range(100):
        device.empty((1 << 20,), "float32")
    assert free_bytes() == before


def test_too_little_memory_is_an_error_in_words(device: CudaDevice) -> None:
    with pytest.raises(DeviceMemoryError):
        device.empty((1 << 45,), "float32")
