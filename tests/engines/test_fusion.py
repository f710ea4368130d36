"""Fused graphs compute what the clean ones compute, and nothing that can be fused is left."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.reference import deviation, load_reference
from sdopt.engines.onnxruntime import targets
from sdopt.engines.onnxruntime.fused_graph import fused_graph, fused_key
from sdopt.engines.onnxruntime.session import open_session, session_options
from sdopt.engines.options import EngineOptions, Model
from sdopt.engines.store import EngineStore

onnx = pytest.importorskip("onnx", reason="needs sdopt[export]")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript", reason="needs sdopt[gpu]")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from sdopt.engines.onnxruntime.fusion import RULES, write_fused  # noqa: E402

EXACT, FAST = ("attention",), ("attention", "group_norm")
ATTENTIONS = {"unet": 14, "vae_decoder": 1, "vae_encoder": 1, "text_encoder": 0}
"""Of the carried model; those of a text encoder have a mask."""
NORMS = {"unet": (30, 23), "vae_decoder": (21, 21), "vae_encoder": (0, 0)}
"""Normalizations of pictures, and those of them with SiLU behind them."""


class OnCpu(targets.OnHost):
    """The CPU, told to fuse what it has kernels for."""

    @staticmethod
    def fusions(batching: str) -> tuple[str, ...]:
        return EXACT


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open("shapes")


def operators(graph: object) -> Counter[str]:
    return Counter(node.op_type for node in graph.graph.node)  # type: ignore[attr-defined]


def fused(bundle: Bundle, component: str, names: tuple[str, ...], folder: Path) -> object:
    path = folder / "fused.onnx"
    write_fused(bundle.component_path(component), path, names)
    return onnx.load(path, load_external_data=False)


def worst(bundle: Bundle, component: str, session: object) -> float:
    (pair, *_) = load_reference(bundle.path / str(bundle.component(component).reference))
    found = session.run(list(pair.outputs), dict(pair.inputs))  # type: ignore[attr-defined]
    return max(
        deviation(ours, theirs)[0]
        for ours, theirs in zip(found, pair.outputs.values(), strict=True)
    )


@pytest.mark.parametrize("component", ATTENTIONS)
def test_every_attention_without_a_mask_is_fused(
    bundle: Bundle, component: str, tmp_path: Path
) -> None:
    found = operators(fused(bundle, component, EXACT, tmp_path))
    assert found["MultiHeadAttention"] == ATTENTIONS[component]
    assert found["Softmax"] == (3 if component == "text_encoder" else 0)
    assert found["GroupNorm"] == 0


@pytest.mark.parametrize("component", ["unet", "vae_decoder"])
def test_every_group_normalization_of_pictures_is_fused(
    bundle: Bundle, component: str, tmp_path: Path
) -> None:
    nodes = fused(bundle, component, FAST, tmp_path).graph.node  # type: ignore[attr-defined]
    norms = [node for node in nodes if node.op_type == "GroupNorm"]
    silu = [n for n in norms for a in n.attribute if (a.name, a.i) == ("activation", 1)]
    assert (len(norms), len(silu)) == NORMS[component]


@pytest.mark.parametrize("component", ["unet", "vae_decoder"])
def test_fused_attention_computes_what_torch_computes(
    bundle: Bundle, component: str, tmp_path: Path
) -> None:
    """ONNX Runtime has this operator for the CPU, too. Weights come from the component's file."""
    model, target = Model.of(bundle, component), OnCpu()
    options = EngineOptions(store=EngineStore(tmp_path))
    graph = fused_graph(ort.__version__, model, options, target)
    assert graph is not None
    assert graph.stat().st_size < 0.1 * model.path.with_suffix(".onnx_data").stat().st_size
    session = open_session(ort, model, graph, session_options(ort, model, options), target)
    assert worst(bundle, component, session) < 1e-5


@pytest.mark.parametrize("component", ["unet", "vae_decoder"])
def test_fused_normalization_computes_what_torch_computes(
    bundle: Bundle, component: str, tmp_path: Path
) -> None:
    """ONNX Runtime has this operator for GPUs alone: here it is spelt out as it is defined."""
    proto = fused(bundle, component, FAST, tmp_path)
    spell_out_norms(proto.graph)  # type: ignore[attr-defined]
    settings = ort.SessionOptions()
    folder = str(bundle.component_path(component).parent)
    settings.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", folder
    )
    session = ort.InferenceSession(proto.SerializeToString(), settings)  # type: ignore[attr-defined]
    assert worst(bundle, component, session) < 1e-5


def spell_out_norms(graph: object) -> None:
    """Replace each GroupNorm: even out groups of channels, weigh, and put through SiLU."""
    nodes = []
    for index, node in enumerate(graph.node):  # type: ignore[attr-defined]
        if node.op_type != "GroupNorm":
            nodes.append(node)
            continue
        said = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        x, gamma, beta = node.input
        count, at = int(said["groups"]), f"norm{index}"
        for name, values in {
            "groups": np.array([0, count, -1], np.int64),
            "ones": np.ones(count, np.float32),
            "zeros": np.zeros(count, np.float32),
        }.items():
            graph.initializer.append(numpy_helper.from_array(values, f"{at}.{name}"))  # type: ignore[attr-defined]
        silu = said["activation"] == 1
        last = f"{at}.weighed" if silu else node.output[0]
        nodes += [
            helper.make_node("Transpose", [x], [f"{at}.first"], perm=[0, 3, 1, 2]),
            helper.make_node("Shape", [f"{at}.first"], [f"{at}.shape"]),
            helper.make_node("Reshape", [f"{at}.first", f"{at}.groups"], [f"{at}.grouped"]),
            helper.make_node(
                "InstanceNormalization",
                [f"{at}.grouped", f"{at}.ones", f"{at}.zeros"],
                [f"{at}.even"],
                epsilon=float(said["epsilon"]),
            ),
            helper.make_node("Reshape", [f"{at}.even", f"{at}.shape"], [f"{at}.back"]),
            helper.make_node("Transpose", [f"{at}.back"], [f"{at}.nhwc"], perm=[0, 2, 3, 1]),
            helper.make_node("Mul", [f"{at}.nhwc", gamma], [f"{at}.scaled"]),
            helper.make_node("Add", [f"{at}.scaled", beta], [last]),
        ]
        if silu:
            nodes += [
                helper.make_node("Sigmoid", [last], [f"{at}.gate"]),
                helper.make_node("Mul", [last, f"{at}.gate"], [node.output[0]]),
            ]
    del graph.node[:]  # type: ignore[attr-defined]
    graph.node.extend(nodes)  # type: ignore[attr-defined]


def norm_in_half(folder: Path) -> Path:
    """Write a group normalization with SiLU as graphs of float16 have it: in an island of fp32."""
    half = TensorProto.FLOAT16
    weights = {
        "groups": np.array([0, 2, -1], np.int64),
        "ones": np.ones(2, np.float32),
        "zeros": np.zeros(2, np.float32),
        "gamma": np.arange(8, dtype=np.float32).reshape(8, 1, 1),
        "beta": np.ones((8, 1, 1), np.float32),
    }
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["wide", "groups"], ["grouped"], allowzero=0),
        helper.make_node(
            "InstanceNormalization", ["grouped", "ones", "zeros"], ["even"], epsilon=1e-6
        ),
        helper.make_node("Reshape", ["even", "shape"], ["back"], allowzero=0),
        helper.make_node("Mul", ["back", "gamma"], ["scaled"]),
        helper.make_node("Add", ["scaled", "beta"], ["moved"]),
        helper.make_node("Cast", ["moved"], ["narrow"], to=half),
        helper.make_node("Sigmoid", ["narrow"], ["gate"]),
        helper.make_node("Mul", ["narrow", "gate"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(n, half, ["batch", 8, "h", "w"]) for n in "xy")
    held = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "norm", [x], [y], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), folder / "n")
    return folder / "n"


def test_in_half_precision_the_casts_go(tmp_path: Path) -> None:
    write_fused(norm_in_half(tmp_path), tmp_path / "fused", ("group_norm",))
    graph = onnx.load(tmp_path / "fused").graph
    assert [node.op_type for node in graph.node] == ["Transpose", "GroupNorm", "Transpose"]
    said = {a.name: helper.get_attribute_value(a) for a in graph.node[1].attribute}
    assert (said["groups"], said["activation"]) == (2, 1)
    assert said["epsilon"] == pytest.approx(1e-6)
    held = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    gamma, beta = (held[name] for name in graph.node[1].input[1:])
    assert np.array_equal(gamma, np.arange(8, dtype=np.float32))
    assert np.array_equal(beta, np.ones(8, np.float32))


def test_what_is_no_group_normalization_stays(tmp_path: Path) -> None:
    path = norm_in_half(tmp_path)
    proto = onnx.load(path)
    (ones,) = [i for i in proto.graph.initializer if i.name == "ones"]
    ones.CopyFrom(numpy_helper.from_array(np.array([1, 2], np.float32), "ones"))
    onnx.save(proto, path)
    write_fused(path, tmp_path / "fused", ("group_norm",))
    assert operators(onnx.load(tmp_path / "fused")) == operators(proto)


def test_what_is_fused_where() -> None:
    assert targets.OnHost.fusions("exact") == targets.OnHost.fusions("fast") == ()
    assert targets.OnCuda.fusions("exact") == EXACT
    assert targets.OnCuda.fusions("fast") == FAST
    assert set(FAST) == set(RULES)


def test_a_graph_is_derived_once(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, options = Model.of(bundle, "vae_decoder"), EngineOptions(store=EngineStore(tmp_path))
    first = fused_graph("1.31.1", model, options, OnCpu())
    monkeypatch.setattr("sdopt.engines.onnxruntime.fusion.write_fused", pytest.fail)
    assert first is not None
    assert fused_graph("1.31.1", model, options, OnCpu()) == first
    (entry,) = options.store.entries()
    assert entry.sidecar is not None
    assert entry.sidecar.key.options == {"fused": "attention", "rules": "1"}


def test_some_graphs_stay_as_they_are(bundle: Bundle) -> None:
    target, options = OnCpu(), EngineOptions()
    assert fused_key("1", Model.of(bundle, "loop_tail"), options, target) is None
    unsealed = Model("unet", bundle.component_path("unet"))
    assert fused_key("1", unsealed, options, target) is None
    in_bf16 = Model("unet", Path("x"), hashlib.sha256(b"").hexdigest(), "bf16")
    assert fused_key("1", in_bf16, options, target) is None
