"""Checkpoints as different tools write them; the weights decide how they are stored."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file
from transformers import CLIPTokenizer

from sdopt.bundle.reference import deviation, load_reference
from sdopt.errors import CheckpointError
from sdopt.export.checkpoint import Checkpoint
from tests.export.altered import TEXT, UNET, copied, halved, sharded
from tests.export.graphs import Tiny, run_graph


def test_half_weights_are_stored_as_they_are_and_computed_in_fp32(
    tiny: Tiny, tmp_path: Path, export_part: Any
) -> None:
    checkpoint = copied(tiny.checkpoint, tmp_path / "checkpoint")
    halved(checkpoint)
    out = export_part(checkpoint, "vae_decoder", "text_encoder")
    model = onnx.load(out / "text_encoder" / "model.onnx")
    weights = {n.removeprefix("text_model."): a for n, a in load_file(checkpoint / TEXT).items()}
    stored = {t.name.removesuffix(".transposed"): t for t in model.graph.initializer}
    large = [name for name in stored.keys() & weights.keys() if weights[name].size >= 1024]
    assert large
    assert all(stored[name].data_type == onnx.TensorProto.FLOAT16 for name in large)
    embedding = onnx.numpy_helper.to_array(stored["embeddings.token_embedding.weight"])
    np.testing.assert_array_equal(embedding, weights["embeddings.token_embedding.weight"])
    assert all(v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for v in model.graph.output)
    for component in ("vae_decoder", "text_encoder"):  # torch ran on these very weights in float32
        (pair,) = load_reference(out / component / "reference.safetensors")
        (ours,) = run_graph(out / component / "model.onnx", [pair.inputs])
        assert all(max(deviation(ours[k], v)) < 2e-5 for k, v in pair.outputs.items())
        before = load_reference(tiny.expected / f"{component}.safetensors")
        (other,) = run_graph(out / component / "model.onnx", [before[0].inputs])
        differences = [max(deviation(other[k], v)) for k, v in before[0].outputs.items()]
        assert 1e-5 < max(differences) < 1e-2  # the float16 weights are other weights


def test_a_tokenizer_json_alone_is_enough(tiny: Tiny, tmp_path: Path, export_part: Any) -> None:
    checkpoint = copied(tiny.checkpoint, tmp_path / "checkpoint")
    tokenizer = CLIPTokenizer.from_pretrained(checkpoint / "tokenizer", local_files_only=True)
    shutil.rmtree(checkpoint / "tokenizer")
    tokenizer.save_pretrained(checkpoint / "tokenizer")
    assert not (checkpoint / "tokenizer" / "vocab.json").exists()
    out = export_part(checkpoint, "text_encoder")
    (pair,) = load_reference(out / "text_encoder" / "reference.safetensors")
    words = tokenizer("a small red circle on a blue background", padding="max_length")
    ids = np.where(pair.inputs["input_ids"] < 0, words["input_ids"], pair.inputs["input_ids"])
    np.testing.assert_array_equal(ids, [words["input_ids"]])  # two of them are concepts


def test_files_without_a_variant_come_first_and_a_single_variant_is_found(
    tiny: Tiny, tmp_path: Path
) -> None:
    def chosen(variant: str | None = None) -> str:
        (file,) = Checkpoint.read(checkpoint, variant).models["unet"].weights
        return file.path.name

    checkpoint = copied(tiny.checkpoint, tmp_path / "checkpoint")
    halved(checkpoint, "fp16")
    assert chosen() == "diffusion_pytorch_model.fp16.safetensors"
    for file in (TEXT, UNET, Path("vae/diffusion_pytorch_model.safetensors")):
        shutil.copyfile(tiny.checkpoint / file, checkpoint / file)
    assert chosen() == "diffusion_pytorch_model.safetensors"
    assert chosen("fp16") == "diffusion_pytorch_model.fp16.safetensors"
    with pytest.raises(CheckpointError) as error:
        chosen("bf16")
    assert str(error.value) == (
        f"Checkpoint {checkpoint / 'text_encoder'}: there is no variant 'bf16'. "
        "Variants here: 'fp16'."
    )


def test_shards_are_found_by_their_index(tiny: Tiny, tmp_path: Path) -> None:
    checkpoint = copied(tiny.checkpoint, tmp_path / "checkpoint")
    sharded(checkpoint / UNET)
    files = Checkpoint.read(checkpoint).models["unet"].weights
    assert [file.path.name for file in files] == [
        "diffusion_pytorch_model-00001-of-00002.safetensors",
        "diffusion_pytorch_model-00002-of-00002.safetensors",
    ]
    files[1].path.unlink()
    with pytest.raises(CheckpointError) as error:
        Checkpoint.read(checkpoint)
    assert str(error.value) == (
        f"Checkpoint {files[1].path}: this shard is missing. Get the complete checkpoint."
    )
