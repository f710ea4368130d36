"""What cannot be used is refused in the same words by Python and on the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sdopt.errors import RequestError
from sdopt.pipeline import Pipeline

PROMPT = "a red circle on a blue background"
READABLE = "a picture that Pillow can read (PNG, JPEG, WebP, ...)"
Cli = Callable[..., int]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures, most of which are bad."""
    folder = tmp_path_factory.mktemp("pictures")
    Image.new("RGB", (96, 96), "yellow").save(folder / "good.png")
    Image.new("L", (64, 96), 255).save(folder / "narrow.png")
    Image.new("1", (10_000, 10_000)).save(folder / "huge.png")
    frames = [Image.new("RGB", (96, 96), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    Image.effect_noise((96, 96), 50).save(folder / "noise.png")
    (folder / "cut.png").write_bytes((folder / "noise.png").read_bytes()[:-500])
    (folder / "words.png").write_text("hello")
    return folder


GOOD = {"image": "good.png"}
REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "a mask of another size": (
        {**GOOD, "mask_image": "narrow.png"},
        "mask_image size='64x96' is not allowed. mask_image size is that of the image, 96x96.",
    ),
    "100 megapixels": (
        {"image": "huge.png"},
        "image size='10000x10000' is not allowed. image size is at most 50 megapixels.",
    ),
    "100 megapixels of mask": (
        {**GOOD, "mask_image": "huge.png"},
        "mask_image size='10000x10000' is not allowed. mask_image size is at most 50 megapixels.",
    ),
    "an animation": (
        {"image": "moving.gif"},
        "image='{folder}/moving.gif' is not allowed. image is a picture that is not animated. Give "
        "one of its frames.",
    ),
    "a truncated picture": (
        {"image": "cut.png"},
        f"image='{{folder}}/cut.png' is not allowed. image is {READABLE}. image file is truncated.",
    ),
    "no picture": (
        {"image": "words.png"},
        f"image='{{folder}}/words.png' is not allowed. image is {READABLE}. cannot identify image "
        "file '{folder}/words.png'.",
    ),
    "strength 0": (
        {**GOOD, "strength": 0.0},
        "strength=0.0 is not allowed. strength is a number above 0 and up to 1.",
    ),
    "strength 2": (
        {**GOOD, "strength": 2.0},
        "strength=2.0 is not allowed. strength is a number above 0 and up to 1.",
    ),
    "a strength that leaves no step": (
        {**GOOD, "strength": 0.01, "num_inference_steps": 10},
        "strength=0.01 is not allowed. strength is at least 1 / num_inference_steps = 0.1. Below "
        "that no step is left to run.",
    ),
    "strength without a picture": (
        {"strength": 0.5},
        "strength=0.5 is not allowed. strength is not given where image is not.",
    ),
}
FLAGS = {"mask_image": "--mask", "num_inference_steps": "--steps"}


@pytest.mark.parametrize("case", REFUSALS)
def test_it_is_refused_alike_in_python_and_on_the_command_line(
    shapes: Pipeline, cli: Cli, pictures: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    options, text = REFUSALS[case]
    given = {k: str(pictures / v) if isinstance(v, str) else v for k, v in options.items()}
    message = text.replace("{folder}", str(pictures))
    with pytest.raises(RequestError) as error:
        shapes(PROMPT, **given)
    assert str(error.value) == message
    flags = [part for name, v in given.items() for part in (FLAGS.get(name, f"--{name}"), v)]
    out = pictures / "never.png"
    assert cli("generate", "shapes", PROMPT, *flags, "-o", out) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"Error: {message}"
    assert not out.exists()


def test_a_checkpoint_of_an_unknown_family(
    cli: Cli, shapes_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In Python: tests/export/test_export_refusals.py."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(shapes_checkpoint, folder)
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": "FluxPipeline"}))
    assert cli("export", folder, tmp_path / "out") == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"Error: Checkpoint {folder}: model_index.json says _class_name='FluxPipeline', which is "
        "no family that sdopt knows. Known: StableDiffusionPipeline, "
        "StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline, "
        "LatentConsistencyModelPipeline, LatentConsistencyModelImg2ImgPipeline, "
        "StableDiffusionXLPipeline, StableDiffusionXLImg2ImgPipeline, "
        "StableDiffusionXLInpaintPipeline. Choose a checkpoint of one of these."
    )
    assert not (tmp_path / "out").exists()


def test_a_pickled_checkpoint(cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In Python: tests/export/test_single_file.py."""
    file = tmp_path / "model.ckpt"
    file.write_bytes(b"\x80\x02}.")
    assert cli("export", file, tmp_path / "out") == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"Error: Checkpoint {file}: this is a pickle, which can run any code when it is read. It "
        "is never read here. On a machine where you trust it, convert it once with torch: state = "
        "torch.load(PATH, weights_only=True)['state_dict'], then safetensors.torch.save_file("
        "state, 'model.safetensors')."
    )
    assert not (tmp_path / "out").exists()
