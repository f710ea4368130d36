"""Bundles, changed into the folders that other tools would have written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def as_optimum(bundle: Path, out: Path) -> Path:
    """Leave out what only sdopt writes; give the VAE's config its place; one timestep per call."""
    ignored = shutil.ignore_patterns("sdopt.json", "reference.safetensors")
    shutil.copytree(bundle, out, ignore=ignored)
    for side in ("encoder", "decoder"):
        shutil.copyfile(out / "vae" / "config.json", out / f"vae_{side}" / "config.json")
    shutil.rmtree(out / "vae")
    one_timestep(out / "unet" / "model.onnx", [], FLOAT)
    return out


def as_legacy(bundle: Path, out: Path) -> Path:
    """The same as diffusers wrote it in 2022: no configs, weights.pb, whole timesteps in a list."""
    ignored = shutil.ignore_patterns("sdopt.json", "reference.safetensors", "config.json")
    shutil.copytree(bundle, out, ignore=ignored)
    shutil.rmtree(out / "vae")
    index = json.loads((out / "model_index.json").read_text("utf-8"))
    index["_class_name"] = "OnnxStableDiffusionPipeline"
    (out / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    unet = out / "unet" / "model.onnx"
    one_timestep(unet, [1], INT64)
    model = onnx.load(unet)
    (out / "unet" / "model.onnx_data").unlink()
    onnx.save(model, unet, save_as_external_data=True, location="weights.pb", size_threshold=1024)
    return out


def one_timestep(path: Path, shape: list[int], kind: int) -> None:
    """Expand one timestep to the batch inside the graph, as torch's exporters do."""
    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == "timestep":
                node.input[index] = "rows"
    timestep = next(value for value in graph.input if value.name == "timestep")
    timestep.CopyFrom(helper.make_tensor_value_info("timestep", kind, shape))
    nodes: list[Any] = [
        helper.make_node("Shape", ["sample"], ["batch"], "batch", start=0, end=1),
        helper.make_node("Cast", ["timestep"], ["float"], "float", to=FLOAT),
    ]
    single = "float"
    if not shape:
        graph.initializer.append(helper.make_tensor("first", INT64, [1], [0]))
        nodes.append(helper.make_node("Unsqueeze", ["float", "first"], ["single"], "single"))
        single = "single"
    nodes.append(helper.make_node("Expand", [single, "batch"], ["rows"], "rows"))
    for position, node in enumerate(nodes):
        graph.node.insert(position, node)
    onnx.save(model, path)
