"""Every engine behind one contract: bound once, run often, checked before it runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sdopt.engines.catalog import open_engine
from sdopt.engines.contract import Engine
from sdopt.engines.host import HostDevice
from sdopt.engines.options import EngineOptions, Model
from sdopt.errors import EngineError, EngineExecutionError, ProviderUnavailableError

onnx = pytest.importorskip("onnx", reason="needs sdopt[export]")
PACKAGES = {"onnxruntime": "cpu", "openvino": "openvino"}
TITLES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


ON_THE_HOST = ("onnxruntime", "openvino")
"""Those for GPUs have tests of their own, on a simulated GPU and on a real one."""


@pytest.fixture(scope="module", params=ON_THE_HOST)
def engine(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


@pytest.fixture(scope="module")
def scale(tmp_path_factory: pytest.TempPathFactory, engine: str) -> Engine:
    """y = x * factor, z = x + 1; x of any batch and width 3."""
    path = tmp_path_factory.mktemp("scale") / "model.onnx"
    build_scale(path)
    return open_engine(engine, Model("scale", path), EngineOptions(precision="fp32"))


def build_scale(path: Path) -> None:
    from onnx import TensorProto, helper

    def tensor(name: str, *shape: int | str) -> object:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "factor"], ["y"]),
            helper.make_node("Add", ["x", "one"], ["z"]),
        ],
        "scale",
        [tensor("x", "batch", 3), tensor("factor", 1)],
        [tensor("y", "batch", 3), tensor("z", "batch", 3)],
        [helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path
    )


def test_specs_are_read_from_the_graph(scale: Engine) -> None:
    assert [tensor(spec) for spec in scale.inputs] == ["x: float32[batch, 3]", "factor: float32[1]"]
    assert [tensor(spec) for spec in scale.outputs] == [
        "y: float32[batch, 3]",
        "z: float32[batch, 3]",
    ]
    assert scale.precision == "fp32"


def tensor(spec: object) -> str:
    """OpenVINO does not keep the names of dimensions."""
    return str(spec).replace("?", "batch")


def test_a_bound_call_reads_and_writes_the_buffers_it_was_given(scale: Engine) -> None:
    device = HostDevice()
    x, factor = device.empty((2, 3), "float32"), np.array([2], np.float32)
    y = device.empty((2, 3), "float32")
    call = device.capture(scale.bind({"x": x, "factor": factor, "y": y}))
    for value in (1, 5):
        device.upload(np.full((2, 3), value, np.float32), x)
        call()
        device.synchronize()
        out = np.zeros((2, 3), np.float32)
        device.download(y, out)
        assert (out == 2 * value).all()


def test_a_call_bound_to_the_beginning_of_a_buffer_leaves_the_rest(
    scale: Engine,
) -> None:
    x, y = np.ones((4, 3), np.float32), np.zeros((4, 3), np.float32)
    scale.bind({"x": x[:2], "factor": np.array([7], np.float32), "y": y[:2]})()
    assert (y[:2] == 7).all()
    assert (y[2:] == 0).all()


def test_an_input_may_be_read_only(scale: Engine) -> None:
    """Constants are: what they were made from may still change."""
    x, y = np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)
    seen = x[:]
    seen.flags.writeable = False
    call = scale.bind({"x": seen, "factor": np.array([2], np.float32), "y": y})
    x[:] = 4
    call()
    assert (y == 8).all()


def test_an_empty_batch_gives_an_empty_batch(scale: Engine) -> None:
    x, y = np.ones((0, 3), np.float32), np.zeros((0, 3), np.float32)
    scale.bind({"x": x, "factor": np.array([2], np.float32), "y": y})()


def test_a_call_keeps_its_buffers_alive(scale: Engine) -> None:
    def bind() -> tuple[object, np.ndarray]:
        y = np.zeros((2, 3), np.float32)
        x = np.full((2, 3), 3, np.float32)
        return scale.bind({"x": x, "factor": np.array([2], np.float32), "y": y}), y

    call, y = bind()
    _ = [np.full((2, 3), index, np.float32) for index in range(1000)]
    call()  # type: ignore[operator]
    assert (y == 6).all()


def test_running_on_new_arrays_gives_every_output(scale: Engine) -> None:
    out = scale.run({"x": np.ones((1, 3), np.float32), "factor": np.array([2], np.float32)})
    assert out.keys() == {"y", "z"}
    assert (out["z"] == 2).all()


@pytest.mark.parametrize(
    ("buffers", "message"),
    [
        ({"x": np.ones((1, 3), "f4")}, "Inputs without a buffer: ['factor']"),
        ({"w": np.ones(1, "f4")}, "There are no tensors ['w']; there are x: float32[batch, 3], "),
        (
            {"x": np.ones((1, 3), "f8"), "factor": np.ones(1, "f4")},
            "The buffer for x: float32[batch, 3] has dtype float64 and shape (1, 3)",
        ),
        (
            {"x": np.ones((1, 4), "f4"), "factor": np.ones(1, "f4")},
            "The buffer for x: float32[batch, 3] has dtype float32 and shape (1, 4)",
        ),
        (
            {"x": np.ones((3, 2), "f4").T, "factor": np.ones(1, "f4")},
            "The buffer for x: float32[batch, 3] has dtype float32 and shape (2, 3)",
        ),
    ],
)
def test_wrong_buffers_are_refused(
    scale: Engine, buffers: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(EngineExecutionError) as caught:
        scale.bind(buffers)
    assert tensor(caught.value).startswith(f"Running scale failed. {message}")


def test_a_failure_inside_the_backend_is_an_engine_error(scale: Engine) -> None:
    with pytest.raises(EngineExecutionError, match="Running scale failed"):
        scale.run({"x": np.ones((1, 3), np.float32)})


@pytest.mark.parametrize("threads", [1, 2])
def test_inputs_that_do_not_fit_together_are_an_engine_error(
    tmp_path: Path, engine: str, threads: int
) -> None:
    """The failure is the backend's: each array fits its tensor."""
    build_scale(tmp_path / "model.onnx")
    options = EngineOptions(precision="fp32", threads=threads)
    scale = open_engine(engine, Model("scale", tmp_path / "model.onnx"), options)
    x, factor = np.ones((2, 3), np.float32), np.ones(1, np.float32)
    call = scale.bind({"x": x, "factor": factor, "y": np.ones((1, 3), np.float32)})
    for _ in range(2):
        with pytest.raises(EngineExecutionError, match="Running scale failed"):
            call()


def test_a_graph_that_is_none(tmp_path: Path, engine: str) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineError, match=f"unet: {TITLES[engine]} cannot load"):
        open_engine(engine, Model("unet", tmp_path / "model.onnx"))


def test_a_device_that_is_not_there(tmp_path: Path, engine: str) -> None:
    """Never the CPU instead."""
    build_scale(tmp_path / "model.onnx")
    with pytest.raises(ProviderUnavailableError) as caught:
        open_engine(engine, Model("unet", tmp_path / "model.onnx"), EngineOptions(device="cuda"))
    assert str(caught.value).startswith(f"'{engine} on cuda' is not available here. Available: cpu")


def test_a_precision_that_is_not_there(tmp_path: Path, engine: str) -> None:
    build_scale(tmp_path / "model.onnx")
    with pytest.raises(ProviderUnavailableError) as caught:
        open_engine(engine, Model("unet", tmp_path / "model.onnx"), EngineOptions(precision="int3"))
    assert str(caught.value).startswith(f"'{engine} in int3' is not available here. Available: ")
    assert "fp32" in caught.value.available


def test_a_missing_package_names_the_extra(tmp_path: Path, engine: str) -> None:
    build_scale(tmp_path / "model.onnx")
    code = (
        f"import sys; sys.modules[{engine!r}] = None\n"
        "from pathlib import Path; from sdopt.engines.catalog import open_engine\n"
        "from sdopt.engines.options import Model\n"
        f"open_engine({engine!r}, Model('unet', Path({str(tmp_path / 'model.onnx')!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(
        f"MissingDependencyError: {engine} is not installed. "
        f"Install it with: pip install 'sdopt[{PACKAGES[engine]}]'"
    )
