"""Single safetensors files: the family from the keys, every weight in its place, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import sdopt
from sdopt.errors import CheckpointError, WeightsMismatchError
from sdopt.export.checkpoint import Checkpoint
from sdopt.export.sources import read_checkpoint
from tests.onnx_folders import as_optimum

torch = pytest.importorskip("torch", reason="needs sdopt[export]")

ROOT = Path(__file__).parents[2]
KINDS = ("sd1", "sd1_inpainting", "sd2", "sdxl", "sdxl_refiner")
WHOLE = (
    "Known are files of whole Stable Diffusion 1.x, 2.x and XL models. A LoRA, a VAE or a UNet "
    "alone is none."
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("single")
    script = ROOT / "tests" / "export" / "single_files.py"
    subprocess.run([sys.executable, script, out, *KINDS], check=True, capture_output=True)
    return out


def read(file: Path, kind: str) -> Checkpoint:
    return read_checkpoint(file, None, "v_prediction" if kind == "sd2" else None)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_is_the_folders(written: Path, kind: str) -> None:
    from sdopt.export.loading import load

    folder = read_checkpoint(written / kind / "folder")
    file = read(written / kind / "model.safetensors", kind)
    assert file.family.name == folder.family.name == kind
    assert file.scheduler == folder.scheduler
    assert file.models.keys() == folder.models.keys()
    for name, model in folder.models.items():
        theirs = load(model, torch.float32).state_dict()
        ours = load(file.models[name], torch.float32).state_dict()
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


@pytest.mark.parametrize("kind", KINDS)
def test_settings_that_no_weight_tells(written: Path, kind: str) -> None:
    folder = read_checkpoint(written / kind / "folder")
    file = read(written / kind / "model.safetensors", kind)
    for key in ("attention_head_dim", "cross_attention_dim", "use_linear_projection"):
        theirs = folder.config("unet")[key]
        same = [theirs] * 2 if isinstance(theirs, list) else theirs
        assert file.config("unet")[key] in (theirs, same)
    assert file.config("vae")["scaling_factor"] == folder.config("vae")["scaling_factor"]
    for name in folder.models.keys() - {"unet", "vae"}:
        for key in ("hidden_act", "num_attention_heads", "num_hidden_layers", "projection_dim"):
            assert file.config(name)[key] == folder.config(name)[key]


@pytest.mark.usefixtures("warm_exports")
@pytest.mark.parametrize("kind", ["sd1", pytest.param("sdxl", marks=pytest.mark.slow)])
def test_folder_single_file_and_onnx_folder_give_the_same_picture(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Bit for bit, on the way from one form of a model to the next; equal weights share a file."""
    monkeypatch.setattr("sdopt.bundle.sharing._SMALLEST_BYTES", 1000)
    one, two = tmp_path / "from-folder", tmp_path / "from-file"
    sdopt.export(written / kind / "folder", one)
    sdopt.export(written / kind / "model.safetensors", two, share_with=[one])
    for component in ("unet", "vae_decoder"):
        weights = f"{component}/model.onnx_data"
        assert (one / weights).samefile(two / weights)
    as_optimum(tmp_path / "from-file", tmp_path / "onnx-folder")
    sdopt.import_onnx(tmp_path / "onnx-folder", tmp_path / "from-onnx-folder")
    names = ("from-folder", "from-file", "onnx-folder", "from-onnx-folder")
    pictures = {name: picture(tmp_path / name) for name in names}
    assert len(set(pictures.values())) == 1
    other = picture(tmp_path / "from-folder", seed=2)
    assert other not in pictures.values()


def picture(bundle: Path, seed: int = 1) -> bytes:
    options = {"num_inference_steps": 3, "guidance_scale": 3, "height": 64, "width": 72}
    result = sdopt.load(bundle)("a red circle", seed=seed, **options)  # type: ignore[arg-type]
    return result.images[0].tobytes()


def test_files_say_what_they_predict(written: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    tensors = load_file(written / "sd2" / "model.safetensors")
    for metadata, expected in (
        ({"modelspec.prediction_type": "v"}, "v_prediction"),
        ({"modelspec.prediction_type": "epsilon"}, "epsilon"),
    ):
        save_file(tensors, file, metadata)
        checkpoint = read_checkpoint(file)
        assert checkpoint.scheduler["prediction_type"] == expected
    assert checkpoint.config("unet")["sample_size"] == 64
    assert message(written / "sd2" / "model.safetensors") == (
        "files of Stable Diffusion 2.x do not say what their UNet predicts. Give prediction_type "
        "(--prediction-type): v_prediction for the models for 768 pixels, epsilon for the base "
        "models for 512."
    )


def message(file: Path, **options: Any) -> str:
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(file, **options)
    return str(error.value).removeprefix(f"Checkpoint {file}: ")


Tensors = dict[str, Any]


def without(start: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {n: t for n, t in tensors.items() if not n.startswith(start)}


REFUSALS: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "no UNet": (
        without("model.diffusion_model."),
        "it holds no UNet: no weight's name begins with 'model.diffusion_model.'. " + WHOLE,
    ),
    "no VAE": (
        without("first_stage_model."),
        "it holds no VAE: no weight's name begins with 'first_stage_model.'. " + WHOLE,
    ),
    "a LoRA": (
        lambda _: {"lora_unet_down.weight": np.zeros(4, np.float32)},
        "it holds no text encoder that is known, but lora_unet_down.weight. " + WHOLE,
    ),
    "something more": (
        lambda tensors: tensors | {"control_model.weight": np.zeros(4, np.float32)},
        "1 weights belong to nothing that is known here: control_model.weight. " + WHOLE,
    ),
    "a weight that tells something": (
        without("model.diffusion_model.middle_block.1.proj_in.weight"),
        "the weight 'middle_block.1.proj_in.weight' is missing. Get the complete file.",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_files_of_other_things_are_refused(written: Path, tmp_path: Path, name: str) -> None:
    how, expected = REFUSALS[name]
    file = tmp_path / "model.safetensors"
    save_file(how(load_file(written / "sd1" / "model.safetensors")), file)
    assert message(file) == expected


def test_missing_and_unexpected_weights_are_named(written: Path, tmp_path: Path) -> None:
    from sdopt.export.loading import load

    tensors = load_file(written / "sd1" / "model.safetensors")
    start = "model.diffusion_model.input_blocks.1.0."
    tensors[f"{start}extra"] = tensors.pop(f"{start}in_layers.0.bias")
    file = tmp_path / "model.safetensors"
    save_file(tensors, file)
    with pytest.raises(WeightsMismatchError) as error:
        load(read_checkpoint(file).models["unet"], torch.float32)
    assert error.value.missing == ("down_blocks.0.resnets.0.norm1.bias",)
    assert error.value.unexpected == ("down_blocks.0.resnets.0.extra",)


def test_pickles_are_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "model.ckpt"
    file.write_bytes(b"\x80\x04cos\nsystem\n")
    assert message(file) == (
        "this is a pickle, which can run any code when it is read. It is never read here. On a "
        "machine where you trust it, convert it once with torch: state = torch.load(PATH, "
        "weights_only=True)['state_dict'], then safetensors.torch.save_file(state, "
        "'model.safetensors')."
    )


def test_options_without_effect_are_refused(written: Path) -> None:
    file = written / "sd1" / "model.safetensors"
    assert message(file, variant="fp16") == (
        "variant='fp16' has no effect on a single file. Leave it out."
    )
    folder = written / "sd1" / "folder"
    assert message(folder, prediction_type="epsilon") == (
        "prediction_type='epsilon' has no effect on a folder. Change prediction_type in its "
        "scheduler/scheduler_config.json."
    )


def test_the_carried_tokenizer_is_clips(written: Path) -> None:
    """What Stable Diffusion's own documentation says of a few texts."""
    from sdopt.runtime.tokenizer import ClipTokenizer

    tokenizer = ClipTokenizer.from_folder(written / "sd1" / "folder" / "tokenizer")
    ids = [token.id for token in tokenizer.tokens("A picture of a puppy")]
    assert ids == [320, 1674, 539, 320, 6829]
    vocabulary = json.loads((written / "sd1/folder/tokenizer/vocab.json").read_text("utf-8"))
    assert (len(vocabulary), vocabulary["<|endoftext|>"]) == (49408, 49407)
