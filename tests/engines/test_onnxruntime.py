"""ONNX Runtime behind the engine contract: bound once, run often, checked before it runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sdopt.engines.catalog import open_engine
from sdopt.engines.host import HostDevice
from sdopt.engines.onnxruntime import OnnxRuntimeEngine
from sdopt.errors import EngineError, EngineExecutionError, UnknownNameError

onnx = pytest.importorskip("onnx", reason="needs sdopt[export]")


@pytest.fixture(scope="module")
def scale(tmp_path_factory: pytest.TempPathFactory) -> OnnxRuntimeEngine:
    """y = x * factor, z = x + 1; x of any batch and width 3."""
    path = tmp_path_factory.mktemp("scale") / "model.onnx"
    build_scale(path)
    return OnnxRuntimeEngine("scale", path)


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


def test_specs_are_read_from_the_graph(scale: OnnxRuntimeEngine) -> None:
    assert [str(spec) for spec in scale.inputs] == ["x: float32[batch, 3]", "factor: float32[1]"]
    assert [str(spec) for spec in scale.outputs] == ["y: float32[batch, 3]", "z: float32[batch, 3]"]


def test_a_bound_call_reads_and_writes_the_buffers_it_was_given(scale: OnnxRuntimeEngine) -> None:
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
    scale: OnnxRuntimeEngine,
) -> None:
    x, y = np.ones((4, 3), np.float32), np.zeros((4, 3), np.float32)
    scale.bind({"x": x[:2], "factor": np.array([7], np.float32), "y": y[:2]})()
    assert (y[:2] == 7).all()
    assert (y[2:] == 0).all()


def test_a_call_keeps_its_buffers_alive(scale: OnnxRuntimeEngine) -> None:
    def bind() -> tuple[object, np.ndarray]:
        y = np.zeros((2, 3), np.float32)
        x = np.full((2, 3), 3, np.float32)
        return scale.bind({"x": x, "factor": np.array([2], np.float32), "y": y}), y

    call, y = bind()
    _ = [np.full((2, 3), index, np.float32) for index in range(1000)]
    call()  # type: ignore[operator]
    assert (y == 6).all()


def test_running_on_new_arrays_gives_every_output(scale: OnnxRuntimeEngine) -> None:
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
    scale: OnnxRuntimeEngine, buffers: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(EngineExecutionError) as caught:
        scale.bind(buffers)
    assert str(caught.value).startswith(f"Running scale failed. {message}")


def test_a_failure_inside_the_backend_is_an_engine_error(scale: OnnxRuntimeEngine) -> None:
    with pytest.raises(EngineExecutionError, match="Running scale failed"):
        scale.run({"x": np.ones((1, 3), np.float32)})


def test_a_graph_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineError, match="unet: ONNX Runtime cannot load"):
        open_engine("onnxruntime", "unet", tmp_path / "model.onnx")


def test_an_unknown_engine(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError) as caught:
        open_engine("onnxrutime", "unet", tmp_path / "model.onnx")
    assert str(caught.value) == (
        "Unknown engine 'onnxrutime'. Did you mean 'onnxruntime'? Choices: onnxruntime."
    )


def test_a_missing_package_names_the_extra(tmp_path: Path) -> None:
    build_scale(tmp_path / "model.onnx")
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from pathlib import Path; from sdopt.engines.catalog import open_engine\n"
        f"open_engine('onnxruntime', 'unet', Path({str(tmp_path / 'model.onnx')!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "sdopt.errors.MissingDependencyError: onnxruntime is not installed. "
        "Install it with: pip install 'sdopt[cpu]'"
    )
