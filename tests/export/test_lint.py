"""Lint: each rule finds what it is for, and exported graphs are free of findings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs sdopt[export]")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402 - after the check

from sdopt.bundle.bundle import Bundle  # noqa: E402
from sdopt.export.lint import lint_bundle, lint_graph  # noqa: E402

FLOAT, HALF, DOUBLE, INT64 = (
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.DOUBLE,
    TensorProto.INT64,
)
Shape = tuple[int, ...]


def graph(
    path: Path,
    nodes: list[object],
    inputs: dict[str, tuple[int, Shape]],
    constants: dict[str, np.ndarray] | None = None,
    opsets: dict[str, int] | None = None,
) -> Path:
    """Write a graph whose output is ``y``, a float of unknown shape."""
    made = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    imports = [helper.make_opsetid(*item) for item in (opsets or {"": 18}).items()]
    file = path / "model.onnx"
    onnx.save(helper.make_model(made, opset_imports=imports, ir_version=10), file)
    return file


def node(kind: str, inputs: str, outputs: str = "y", **attributes: object) -> object:
    return helper.make_node(kind, inputs.split(), outputs.split(), name=f"the {kind}", **attributes)


X = {"x": (FLOAT, (2, 3))}


def old_opset(path: Path) -> Path:
    return graph(path, [node("Relu", "x")], X, opsets={"": 13})


def contrib(path: Path) -> Path:
    made = node("FastGelu", "x", domain="com.microsoft")
    return graph(path, [made], X, opsets={"": 18, "com.microsoft": 1})


def unique(path: Path) -> Path:
    return graph(path, [node("Unique", "x")], X)


def noise(path: Path) -> Path:
    return graph(path, [node("RandomNormalLike", "x")], X)


def cubic(path: Path) -> Path:
    image = {"x": (FLOAT, (1, 1, 4, 4))}
    scales = {"scales": np.array([1, 1, 2, 2], np.float32)}
    return graph(path, [node("Resize", "x  scales", mode="cubic")], image, scales)


def odd_pixels(path: Path) -> Path:
    image = {"x": (FLOAT, (1, 1, 4, 4))}
    scales = {"scales": np.array([1, 1, 2, 2], np.float32)}
    resize = node("Resize", "x  scales", coordinate_transformation_mode="half_pixel_symmetric")
    return graph(path, [resize], image, scales, opsets={"": 19})


def computed_norm(path: Path) -> Path:
    inputs = {"x": (FLOAT, (1, 2, 4)), "s": (FLOAT, (2,))}
    norm = node("InstanceNormalization", "x s b")
    return graph(path, [norm], inputs, {"b": np.zeros(2, np.float32)})


def short_integers(path: Path) -> Path:
    there = node("Cast", "x", "s", to=TensorProto.INT16)
    back = helper.make_node("Cast", ["s"], ["y"], to=FLOAT, name="back")
    return graph(path, [there, back], X)


def dropped_attention(path: Path) -> Path:
    nodes = [
        node("MatMul", "q k", "scores"),
        node("Softmax", "scores", "weights"),
        node("Mul", "weights kept", "some"),
        helper.make_node("MatMul", ["some", "v"], ["y"], name="the second MatMul"),
    ]
    inputs = {"q": (FLOAT, (2, 3)), "k": (FLOAT, (3, 2)), "v": (FLOAT, (2, 3))}
    return graph(path, nodes, inputs, {"kept": np.float32([[1, 0]])})


def late_scale_in_float(path: Path) -> Path:
    """The scale stands behind a cast to FLOAT."""
    nodes = [
        node("MatMul", "q k", "scores"),
        node("Cast", "scores", "wide", to=FLOAT),
        node("Mul", "wide scale", "scaled"),
        node("Softmax", "scaled"),
    ]
    inputs = {"q": (HALF, (2, 3)), "k": (HALF, (3, 2))}
    return graph(path, nodes, inputs, {"scale": np.float32([0.5])})


def computed_axes(path: Path) -> Path:
    return graph(path, [node("ReduceSum", "x axes")], {**X, "axes": (INT64, (1,))})


def mean_of_layer_norm(path: Path) -> Path:
    norm = helper.make_node("LayerNormalization", ["x", "s"], ["n", "mean"], name="the norm")
    return graph(path, [norm, node("Add", "n mean")], X, {"s": np.ones(3, np.float32)})


def double(path: Path) -> Path:
    cast = node("Cast", "x", "d", to=DOUBLE)
    back = helper.make_node("Cast", ["d"], ["y"], to=FLOAT, name="back")
    return graph(path, [cast, back], X)


def double_constant(path: Path) -> Path:
    cast = node("Cast", "c", "f", to=FLOAT)
    return graph(path, [cast, node("Add", "x f")], X, {"c": np.ones(3)})


def mixed(path: Path) -> Path:
    both = {"x": (FLOAT, (2, 3)), "h": (HALF, (2, 3))}
    return graph(path, [node("Mul", "x h")], both)


def half_norm_with_float_scale(path: Path) -> Path:
    norm = node("LayerNormalization", "h s", "n")
    cast = node("Cast", "n", to=FLOAT)
    return graph(path, [norm, cast], {"h": (HALF, (2, 3))}, {"s": np.ones(3, np.float32)})


def late_scale(path: Path) -> Path:
    nodes = [
        node("MatMul", "q k", "scores"),
        node("Mul", "scores scale", "scaled"),
        node("Add", "scaled mask", "masked"),
        node("Softmax", "masked"),
    ]
    inputs = {"q": (FLOAT, (2, 3)), "k": (FLOAT, (3, 2)), "mask": (FLOAT, (2, 2))}
    return graph(path, nodes, inputs, {"scale": np.float32([0.5])})


def external(path: Path) -> Path:
    """Weights beside the graph, as they should be."""
    file = graph(path, [node("Add", "x c")], X, {"c": np.ones((512, 2, 3), np.float32)})
    model = onnx.load(file)
    onnx.save(model, file, save_as_external_data=True, location="model.onnx_data")
    assert lint_graph(file) == []
    return file


def missing_weights(path: Path) -> Path:
    file = external(path)
    (path / "model.onnx_data").unlink()
    return file


def truncated_weights(path: Path) -> Path:
    file = external(path)
    (path / "model.onnx_data").write_bytes(b"x")
    return file


def weights_elsewhere(path: Path) -> Path:
    file = external(path)
    model = onnx.load(file, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../weights"
    onnx.save(model, file)
    return file


FINDINGS: dict[Callable[[Path], Path], list[str]] = {
    old_opset: ["opset: opset 13 is not 17 to 24"],
    contrib: [
        "foreign-domain: operators of 'com.microsoft' belong to one backend; only ONNX's own do"
    ],
    unique: ["unsupported-operator: the Unique: TensorRT's parser has no Unique"],
    noise: [
        "random-operator: the RandomNormalLike: RandomNormalLike draws noise, and its seed is "
        "ignored; noise is an input"
    ],
    cubic: ["resize-mode: the Resize: Resize with mode 'cubic'; it must be nearest or linear"],
    odd_pixels: [
        "resize-mode: the Resize: Resize with coordinate_transformation_mode "
        "'half_pixel_symmetric'; it must be half_pixel or pytorch_half_pixel or "
        "tf_half_pixel_for_nn or asymmetric or align_corners"
    ],
    computed_norm: [
        "computed-norm: the InstanceNormalization: its scale s is computed; it must be a constant"
    ],
    short_integers: ["element-type: the Cast: s is INT16; TensorRT has none"],
    dropped_attention: [
        "attention-shape: the Mul: the softmax of scores goes into Mul; TensorRT fuses attention "
        "where MatMul, Softmax and MatMul follow each other"
    ],
    late_scale_in_float: [
        "attention-scale: the Mul: the scores are scaled after the product of Q and K; TensorRT "
        "fuses attention, and fp16 overflows less, where Q is scaled before it"
    ],
    computed_axes: [
        "computed-axes: the ReduceSum: the axes of ReduceSum are computed; they must be constant"
    ],
    mean_of_layer_norm: [
        "layer-norm-outputs: the norm: the mean or the deviation is read; "
        "only the first output is supported"
    ],
    double: ["double: the Cast: Cast gives DOUBLE"],
    double_constant: ["double: c: the constant is DOUBLE; TensorRT has no such type"],
    mixed: ["mixed-types: the Mul: Mul of several types: x is FLOAT, h is FLOAT16"],
    half_norm_with_float_scale: [
        "mixed-types: the LayerNormalization: LayerNormalization of several types: "
        "h is FLOAT16, s is FLOAT"
    ],
    late_scale: [
        "attention-scale: the Mul: the scores are scaled after the product of Q and K; TensorRT "
        "fuses attention, and fp16 overflows less, where Q is scaled before it"
    ],
    missing_weights: ["external-data: c: model.onnx_data is missing"],
    truncated_weights: ["external-data: c: it ends at byte 12288 of model.onnx_data, which has 1"],
    weights_elsewhere: ["external-data: c: '../weights' is not a file beside the graph"],
}


@pytest.mark.parametrize("broken", FINDINGS, ids=lambda broken: broken.__name__)
def test_each_rule_finds_what_it_is_for(broken: Callable[[Path], Path], tmp_path: Path) -> None:
    assert list(map(str, lint_graph(broken(tmp_path)))) == FINDINGS[broken]


def test_a_sound_graph_has_no_findings(tmp_path: Path) -> None:
    scaled = node("Mul", "q scale", "scaled")
    nodes = [scaled, node("MatMul", "scaled k", "scores"), node("Softmax", "scores")]
    inputs = {"q": (FLOAT, (2, 3)), "k": (FLOAT, (3, 2))}
    assert lint_graph(graph(tmp_path, nodes, inputs, {"scale": np.float32([0.5])})) == []


def test_the_carried_bundle_has_no_findings() -> None:
    found = dict(lint_bundle(Bundle.open("shapes")))
    networks = {"text_encoder", "vae_encoder", "vae_decoder", "unet"}
    assert found.keys() == networks | {"loop_head", "loop_tail"}
    assert not any(found.values())
