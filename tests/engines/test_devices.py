"""Devices: the host, and engines on a device that is not the host."""

from __future__ import annotations

import numpy as np
import pytest

from sdopt.engines.contract import Engine
from sdopt.engines.host import HOST
from sdopt.engines.onnxruntime import OnnxRuntimeEngine
from sdopt.engines.options import Model
from sdopt.engines.staged import on_host
from sdopt.errors import EngineExecutionError
from tests.engines.test_contract import build_scale
from tests.far_device import FarDevice, FarEngine

pytest.importorskip("onnx", reason="needs sdopt[export]")


@pytest.fixture(scope="module")
def scale(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    path = tmp_path_factory.mktemp("scale") / "model.onnx"
    build_scale(path)
    return OnnxRuntimeEngine(Model("scale", path))


def test_a_reading_is_the_buffer_as_it_was() -> None:
    buffer = HOST.empty((2,), "float32")
    HOST.upload(np.array([1, 2], np.float32), buffer)
    reading = HOST.read(buffer)
    HOST.upload(np.array([3, 4], np.float32), buffer)
    assert reading.array().tolist() == [1, 2]


def test_copies_go_from_one_buffer_to_another() -> None:
    source, target = HOST.empty((2, 3), "float32"), HOST.empty((2, 3), "float32")
    source[:], target[:] = 1, 2
    HOST.copy(source[:1], target[1:])
    assert target.tolist() == [[2, 2, 2], [1, 1, 1]]


def test_an_engine_of_the_host_is_used_as_it_is(scale: Engine) -> None:
    assert scale.device is HOST
    assert on_host(scale) is scale


def test_an_engine_of_a_device_takes_arrays_through_copies(scale: Engine) -> None:
    device = FarDevice()
    staged = on_host(FarEngine(scale, device))
    assert staged.device.is_host
    assert (staged.name, staged.precision) == ("scale", "fp32")
    x, factor, y = np.zeros((2, 3), "f4"), np.array([2], "f4"), np.zeros((2, 3), "f4")
    call = staged.bind({"x": x, "factor": factor, "y": y})
    for value in (1, 5):
        x[:] = value
        call()
        assert (y == 2 * value).all()
    assert device.log == ["upload", "upload", "scale", "download"] * 2
    assert (staged.run({"x": x, "factor": factor})["z"] == 6).all()


def test_an_engine_of_the_host_refuses_buffers_of_a_device(scale: Engine) -> None:
    far, near = FarDevice().empty((1, 3), "float32"), np.zeros((1, 3), "f4")
    with pytest.raises(EngineExecutionError) as caught:
        scale.bind({"x": far, "factor": np.ones(1, "f4"), "y": near})
    assert str(caught.value) == (
        "Running scale failed. FarBuffer is no buffer of the host, which are arrays."
    )
