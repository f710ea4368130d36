"""Graphs that compute what torch computes, at every size, and come out in the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.families import FAMILIES
from sdopt.bundle.loop_graphs import LOOP_GRAPHS
from sdopt.bundle.manifest import Defaults
from sdopt.bundle.reference import deviation, load_reference
from sdopt.export import export
from tests.export.altered import UNET, as_in_2022, copied, sharded
from tests.export.graphs import Tiny, as_written, run_graph

FP32 = 2e-5  # another order of summation, through some fifty layers
NAMES = sorted(FAMILIES["sd1"].components)


@pytest.mark.parametrize("component", NAMES)
def test_computes_what_torch_computes_at_every_size(
    tiny: Tiny, tiny_export: Path, component: str
) -> None:
    pairs = load_reference(tiny.expected / f"{component}.safetensors")
    results = run_graph(tiny_export / component / "model.onnx", [pair.inputs for pair in pairs])
    for pair, ours in zip(pairs, results, strict=True):
        assert ours.keys() == pair.outputs.keys()
        for name, reference in pair.outputs.items():
            assert max(deviation(ours[name], reference)) < FP32, (name, reference.shape)


def test_each_row_has_its_own_timestep(tiny: Tiny, tiny_export: Path) -> None:
    pair = load_reference(tiny.expected / "unet.safetensors")[1]
    model = tiny_export / "unet" / "model.onnx"
    rows = [{name: array[row : row + 1] for name, array in pair.inputs.items()} for row in range(2)]
    (together,), alone = run_graph(model, [pair.inputs]), run_graph(model, rows)
    for row, single in enumerate(alone):
        np.testing.assert_array_equal(together["out_sample"][row : row + 1], single["out_sample"])
    same = {**pair.inputs, "timestep": np.full(2, 500.0, np.float32)}
    assert not np.allclose(run_graph(model, [same])[0]["out_sample"], together["out_sample"])


@pytest.mark.usefixtures("warm_exports")
def test_the_same_weights_give_the_same_bytes_however_they_were_saved(
    tiny: Tiny, tiny_export: Path, tmp_path: Path
) -> None:
    checkpoint = copied(tiny.checkpoint, tmp_path / "checkpoint")
    as_in_2022(checkpoint)
    sharded(checkpoint / UNET)
    export(checkpoint, tmp_path / "again", run=as_written)
    first, again = (_files(folder) for folder in (tiny_export, tmp_path / "again"))
    assert first.keys() == again.keys()
    assert [name for name in first if first[name] != again[name]] == []


def test_the_bundle_opens_and_says_what_is_in_it(tiny_export: Path) -> None:
    manifest = Bundle.open(tiny_export).manifest
    networks = ["text_encoder", "vae_encoder", "vae_decoder", "unet"]
    assert list(manifest.components) == [*networks, "loop_head", "loop_tail"]
    unet = manifest.components["unet"]
    assert [str(spec) for spec in (*unet.inputs, *unet.outputs)] == [
        "sample: float32[batch, 4, latent_height, latent_width]",
        "timestep: float32[batch]",
        "encoder_hidden_states: float32[batch, sequence, 16]",
        "out_sample: float32[batch, 4, latent_height, latent_width]",
    ]
    assert (manifest.family, manifest.prediction_type) == ("sd1", "epsilon")
    assert (manifest.vae_scale_factor, manifest.scaling_factor) == (8, 0.18215)
    assert manifest.defaults == Defaults(96, 96, num_inference_steps=50, guidance_scale=7.5)
    assert manifest.notes == ("The checkpoint's safety checker is not exported.",)
    assert np.isfinite(manifest.preview.matrix).all()
    assert (len(manifest.preview.matrix), len(manifest.preview.bias)) == (4, 3)
    for name, component in manifest.components.items():
        assert 0 < component.parity.max_error < component.parity.tolerance
        assert component.parity.cases == (2 if name in networks else 1)


def test_only_what_belongs_to_the_bundle_is_in_it(tiny_export: Path) -> None:
    graphs = {
        f"{name}/{file}"
        for name in NAMES
        for file in ("model.onnx", "model.onnx_data", "reference.safetensors", "weights.json")
    }
    of_the_loop = {
        f"{name}/{file}" for name in LOOP_GRAPHS for file in ("model.onnx", "reference.safetensors")
    }
    assert set(_files(tiny_export)) == graphs | of_the_loop | {
        "model_index.json",
        "scheduler/scheduler_config.json",
        "sdopt.json",
        "text_encoder/config.json",
        "tokenizer/merges.txt",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "unet/config.json",
        "vae/config.json",
    }
    size_bytes = sum(len(load) for name, load in _files(tiny_export).items() if "reference" in name)
    assert size_bytes < 230_000


@pytest.mark.parametrize("component", NAMES)
def test_graphs_are_clean(tiny_export: Path, component: str) -> None:
    path = tiny_export / component / "model.onnx"
    model = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(path, full_check=True)
    assert [opset.domain for opset in model.opset_import] == [""]
    assert not model.functions
    assert not model.metadata_props
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    everything = (*model.graph.node, *values, *model.graph.initializer)
    assert not any(each.metadata_props or each.doc_string for each in everything)
    assert "site-packages" not in str(model.graph)
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)
    for tensor in model.graph.initializer:
        assert [e.value for e in tensor.external_data if e.key == "location"] in (
            [],
            ["model.onnx_data"],
        )
    specs = Bundle.open(tiny_export).component(component)
    for value, spec in zip(
        (*model.graph.input, *model.graph.output), (*specs.inputs, *specs.outputs), strict=True
    ):
        dims = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        assert (value.name, dims) == (spec.name, list(spec.shape))


def test_parameters_keep_their_names(tiny: Tiny, tiny_export: Path) -> None:
    weights = load_file(tiny.checkpoint / UNET)
    model = onnx.load(tiny_export / "unet" / "model.onnx")
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    query = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    np.testing.assert_array_equal(stored[f"{query}.transposed"], weights[query].T)
    np.testing.assert_array_equal(stored["conv_in.weight"], weights["conv_in.weight"])


def test_progress_only_grows(tiny: Tiny, tmp_path: Path) -> None:
    said: list[tuple[str, float]] = []

    def stop_at_running(what: str, share: float) -> None:
        said.append((what, share))
        if what.startswith("running"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(tiny.checkpoint, tmp_path / "out", run=run_graph, progress=stop_at_running)
    assert [share for _, share in said] == sorted(share for _, share in said)
    assert {what.split()[0] for what, _ in said} <= {"loading", "running"}
    assert list(tmp_path.iterdir()) == []


def test_fp16_computes_in_fp16_with_a_timestep_in_fp32(tiny: Tiny, export_part: Any) -> None:
    out = export_part(tiny.checkpoint, "unet", "text_encoder", precision="fp16")
    for component, tolerance in (("unet", 5e-3), ("text_encoder", 5e-3)):  # 11 bits, fifty layers
        model = onnx.load(out / component / "model.onnx", load_external_data=False)
        types = {v.name: v.type.tensor_type.elem_type for v in model.graph.input}
        half, single, integer = (
            onnx.TensorProto.FLOAT16,
            onnx.TensorProto.FLOAT,
            onnx.TensorProto.INT64,
        )
        kinds = {
            "sample": half,
            "timestep": single,
            "encoder_hidden_states": half,
            "input_ids": integer,
            "concept_embeds": half,
        }
        assert types == {name: kinds[name] for name in types}
        assert all(v.type.tensor_type.elem_type == half for v in model.graph.output)
        pairs = load_reference(tiny.expected / f"{component}.safetensors")
        case = {
            k: v.astype(np.float16) if types[k] == half else v for k, v in pairs[1].inputs.items()
        }
        (ours,) = run_graph(out / component / "model.onnx", [case])
        for name, reference in pairs[1].outputs.items():
            assert 0 < max(deviation(ours[name], reference)) < tolerance


def _files(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
