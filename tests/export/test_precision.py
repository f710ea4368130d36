"""Fewer bits: what the lowered graphs are, and that every fp32 island is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs sdopt[export]")
pytest.importorskip("torch", reason="needs sdopt[export]")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402 - after the check

import sdopt  # noqa: E402
from sdopt.bundle.bundle import Bundle  # noqa: E402
from sdopt.bundle.reference import deviation, load_reference  # noqa: E402
from sdopt.engines.catalog import open_engine  # noqa: E402
from sdopt.engines.options import Model  # noqa: E402
from sdopt.errors import ExportError, ParityError, ProviderUnavailableError  # noqa: E402
from sdopt.export import ExportOptions  # noqa: E402
from sdopt.export.components import TOLERANCE  # noqa: E402
from sdopt.export.jobs import Job  # noqa: E402
from sdopt.export.lint import lint_graph  # noqa: E402
from sdopt.export.precision import ISLANDS  # noqa: E402
from tests.export.altered import VAE, change, edit_json  # noqa: E402
from tests.export.graphs import Tiny, run_graph  # noqa: E402
from tests.export.warm_worker import WarmWorker  # noqa: E402

ROOT = Path(__file__).parents[2]
BF16, FLOAT = TensorProto.BFLOAT16, TensorProto.FLOAT


@pytest.fixture(scope="module")
def island_cases(
    shapes_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """What each island is worth: see island_cases.py."""
    out = tmp_path_factory.mktemp("islands") / "cases.json"
    script = ROOT / "tests" / "export" / "island_cases.py"
    command = [sys.executable, script, shapes_checkpoint, out]
    subprocess.run(command, check=True, capture_output=True)
    found: list[dict[str, Any]] = json.loads(out.read_text())
    return found


def test_without_each_island_a_network_overflows_or_loses_parity(
    island_cases: list[dict[str, Any]],
) -> None:
    """With it, the same network stays within the tolerance of an export."""
    needed = [case for case in island_cases if case["needed"]]
    assert {(case["island"], case["precision"]) for case in needed} == {
        (island.name, precision) for island in ISLANDS.values() for precision in island.precisions
    }
    for case in needed:
        tolerance, name = TOLERANCE[case["precision"]], (case["island"], case["precision"])
        assert max(case["without"]) > tolerance, name
        assert max(case.get("with", [0.0])) <= tolerance, name


def test_fp16_overflows_where_bf16_does_not(island_cases: list[dict[str, Any]]) -> None:
    overflown = [c["island"] for c in island_cases if np.isinf(c["without"]).all()]
    assert overflown == ["vae", "attention_scores"]
    others = [case for case in island_cases if not case["needed"]]
    assert [(case["island"], case["precision"]) for case in others] == [
        ("vae", "bf16"),
        ("attention_scores", "bf16"),
    ]
    for case in others:  # the same weights
        assert max(case["without"]) <= TOLERANCE["bf16"]


@pytest.fixture(scope="module")
def bf16(tiny: Tiny, warm_worker: WarmWorker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two components of the tiny checkpoint in bf16, without parity and manifest."""
    out, scratch = (tmp_path_factory.mktemp(name) for name in ("bf16", "scratch"))
    warm_worker.do(Job(tiny.checkpoint, None, ("text_encoder", "unet"), "bf16", 18, out, scratch))
    return out


@pytest.mark.parametrize("component", ["text_encoder", "unet"])
def test_a_bf16_graph_has_float32_doors(bf16: Path, component: str) -> None:
    path = bf16 / component / "model.onnx"
    model = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(path, full_check=True)
    assert [opset.version for opset in model.opset_import] == [22]
    doors = {v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)}
    assert doors <= {FLOAT, TensorProto.INT64}
    weights = {t.name: t.data_type for t in model.graph.initializer}
    norms = {name for name in weights if "norm" in name}
    stored = {name: kind for name, kind in weights.items() if kind in (BF16, FLOAT)}
    assert norms
    assert {stored[name] for name in norms} == {FLOAT}
    matrices = {name for name in stored if name.endswith(".transposed")}
    assert {stored[name] for name in matrices} == {BF16}
    assert lint_graph(path) == []


@pytest.mark.parametrize("component", ["text_encoder", "unet"])
def test_openvino_computes_a_bf16_graph(tiny: Tiny, bf16: Path, component: str) -> None:
    pytest.importorskip("openvino", reason="needs sdopt[openvino]")
    engine = open_engine(
        "openvino", Model(component, bf16 / component / "model.onnx", precision="bf16")
    )
    pair = load_reference(tiny.expected / f"{component}.safetensors")[1]
    outputs = engine.run(pair.inputs)
    for name, reference in pair.outputs.items():
        assert 1e-5 < max(deviation(outputs[name], reference)) < TOLERANCE["bf16"]


def test_onnx_runtime_says_that_it_has_no_bf16_on_the_cpu(bf16: Path) -> None:
    model = Model("unet", bf16 / "unet" / "model.onnx", precision="bf16")
    with pytest.raises(ProviderUnavailableError) as error:
        open_engine("onnxruntime", model)
    assert str(error.value) == (
        "'onnxruntime on the CPU in bf16' is not available here. Available: fp32, fp16. Run this "
        "bundle with OpenVINO (--engine openvino), or export it in fp32 or fp16."
    )


def test_the_stand_in_shows_an_overflow_that_onnx_runtime_hides(tmp_path: Path) -> None:
    """x * 1024 * 1024 / 1024 / 1024: ONNX Runtime computes fp16 in float32 without rounding."""
    from sdopt.export.precision.emulation import emulate

    factors = [np.float16(f) for f in (1024, 1024, 1 / 1024, 1 / 1024)]
    names = ["x", "a", "b", "c", "y"]
    made = helper.make_graph(
        [
            helper.make_node("Mul", [names[i], f"factor{i}"], [names[i + 1]], name=f"the Mul {i}")
            for i in range(4)
        ],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [2])],
        [numpy_helper.from_array(factor, f"factor{i}") for i, factor in enumerate(factors)],
    )
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=10), tmp_path / "model.onnx")
    emulate(tmp_path / "model.onnx", tmp_path / "rounded.onnx")
    x = {"x": np.float16([0.01, 3])}
    plain, rounded = (
        run_graph(tmp_path / name, [x])[0]["y"] for name in ("model.onnx", "rounded.onnx")
    )
    np.testing.assert_array_equal(plain, x["x"])
    np.testing.assert_array_equal(rounded, np.float16([0.01, np.inf]))


def test_an_unknown_island_is_refused() -> None:
    with pytest.raises(ExportError) as error:
        ExportOptions(without_islands=("softmax",))
    assert str(error.value) == (
        "without_islands='softmax' is not allowed. Choices: vae, attention_scores, "
        "norm_statistics, timestep_embedding."
    )


@pytest.mark.slow
def test_an_overflow_fails_the_export(tmp_path: Path) -> None:
    """SDXL's VAE, as loud as the real one, lowered to fp16 against its config's word."""
    from tests.export.tiny_families import build

    checkpoint = tmp_path / "checkpoint"
    build(checkpoint, "sdxl", seed=0)

    def loud(tensors: dict[str, Any]) -> dict[str, Any]:
        return {n: t * 1e5 if "decoder.conv_in" in n else t for n, t in tensors.items()}

    change(checkpoint / VAE, loud)
    with pytest.raises(ParityError) as error:
        sdopt.export(checkpoint, tmp_path / "out", precision="fp16", without_islands=["vae"])
    assert str(error.value) == (
        "vae_decoder: the relative L2 error against torch is inf, and at most 0.02 is allowed. "
        "The bundle was not written."
    )
    manifest = sdopt.export(checkpoint, tmp_path / "out", precision="fp16")
    assert [i.name for i in manifest.components["vae_decoder"].islands] == ["vae"]


@pytest.mark.slow
def test_a_bf16_bundle_of_the_carried_model(shapes_checkpoint: Path, tmp_path: Path) -> None:
    """Exported, verified and used on OpenVINO, which draws what fp32 draws."""
    pytest.importorskip("openvino", reason="needs sdopt[openvino]")
    sdopt.export(shapes_checkpoint, tmp_path / "out", precision="bf16", num_inference_steps=20)
    component = Bundle.open(tmp_path / "out").component("unet")
    assert (component.precision, component.opset) == ("bf16", 22)
    assert [i.name for i in component.islands] == ["norm_statistics", "timestep_embedding"]
    assert sdopt.verify(tmp_path / "out", engine="openvino").passed
    options = {"seed": 3, "guidance_scale": 3.0, "num_inference_steps": 20}
    pictures = [
        np.asarray(pipeline("a large red circle on a blue background", **options).images[0], int)
        for pipeline in (sdopt.load(tmp_path / "out", engine="openvino"), sdopt.load("shapes"))
    ]
    assert np.abs(pictures[0] - pictures[1]).mean() < 4  # of 255


@pytest.mark.slow
def test_a_checkpoint_that_asks_for_it_keeps_its_scores_in_fp32(
    tmp_path: Path, export_part: Any
) -> None:
    from tests.export.tiny_families import build

    checkpoint = tmp_path / "checkpoint"
    build(checkpoint, "sd2", seed=0)
    edit_json(checkpoint / "unet" / "config.json", upcast_attention=True)
    out = export_part(checkpoint, "unet", precision="fp16")
    model = onnx.load(out / "unet" / "model.onnx", load_external_data=False)
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    types = {value.name: value.type.tensor_type.elem_type for value in inferred}
    softmaxes = [node.output[0] for node in model.graph.node if node.op_type == "Softmax"]
    assert {types[name] for name in softmaxes} == {FLOAT}
    assert lint_graph(out / "unet" / "model.onnx") == []
