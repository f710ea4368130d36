"""Inputs and outputs of ONNX files, read without onnx: compared with onnx itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdopt.bundle.carried import locate
from sdopt.bundle.onnx_header import read_onnx_header
from sdopt.errors import BundleError

onnx = pytest.importorskip("onnx", reason="needs sdopt[export]")
GRAPHS = sorted(locate("shapes").glob("*/model.onnx"))


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.parent.name)
def test_says_what_onnx_says(path: Path) -> None:
    model = onnx.load(path, load_external_data=False)
    header = read_onnx_header(path)
    for values, specs in ((model.graph.input, header.inputs), (model.graph.output, header.outputs)):
        assert [value.name for value in values] == [spec.name for spec in specs]
        for value, spec in zip(values, specs, strict=True):
            tensor = value.type.tensor_type
            dims = tuple(d.dim_param or d.dim_value for d in tensor.shape.dim)
            assert spec.shape == dims
            assert onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type) == spec.dtype
    assert header.opset == model.opset_import[0].version


def test_weights_among_the_inputs_are_left_out(tmp_path: Path) -> None:
    """As in files of the first versions of ONNX; and a scalar, and a dimension without a name."""
    helper, kind = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "graph",
        [
            helper.make_tensor_value_info("x", kind.FLOAT16, [None, 3]),
            helper.make_tensor_value_info("w", kind.FLOAT16, []),
        ],
        [helper.make_tensor_value_info("y", kind.FLOAT16, ["batch", 3])],
        [helper.make_tensor("w", kind.FLOAT16, [], [2.0])],
    )
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    header = read_onnx_header(tmp_path / "model.onnx")
    assert [str(spec) for spec in header.inputs] == ["x: float16[?, 3]"]
    assert [str(spec) for spec in header.outputs] == ["y: float16[batch, 3]"]


@pytest.mark.parametrize("content", [b"", b"not ONNX at all", b"\x08\x08"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(BundleError, match="is not a readable ONNX file"):
        read_onnx_header(path)
