"""The command line, as people use it: files appear, messages help, exit codes say what happened."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from sdopt.bundle.carried import locate

PROMPT = "a red circle on a blue background"
Cli = Callable[..., int]


def test_one_picture(cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "circle.png"
    assert cli("generate", "shapes", PROMPT, "--steps", 2, "--seed", 0, "-o", out) == 0
    assert capsys.readouterr().out == f"{out}\n"
    with Image.open(out) as image:
        assert image.size == (96, 96)
        assert json.loads(image.info["sdopt"]) == {
            "prompt": PROMPT,
            "negative_prompt": "",
            "clip_skip": 0,
            "concepts": {},
            "num_inference_steps": 2,
            "guidance_scale": 3.0,
            "scheduler": "ddim",
            "eta": 0.0,
            "seed": 0,
            "height": 96,
            "width": 96,
        }


def test_the_same_command_gives_the_same_bytes(cli: Cli, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        assert (
            cli("generate", "shapes", PROMPT, "--steps", 2, "--seed", 5, "-o", tmp_path / name) == 0
        )
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_textual_inversion_and_clip_skip(cli: Cli, tmp_path: Path) -> None:
    vectors = np.full((2, 128), 0.5, np.float32)
    save_file({"emb_params": vectors}, tmp_path / "odd.safetensors")
    plain, with_concept, skipped = (tmp_path / f"{name}.png" for name in "abc")
    same = ["generate", "shapes", "a strange circle", "--steps", 2, "--seed", 5]
    embedding = f"{tmp_path / 'odd.safetensors'}=strange"
    assert cli(*same, "-o", plain) == 0
    assert cli(*same, "--embedding", embedding, "-o", with_concept) == 0
    assert cli(*same, "--clip-skip", 1, "-o", skipped) == 0
    assert len({path.read_bytes() for path in (plain, with_concept, skipped)}) == 3
    with Image.open(with_concept) as image:
        assert json.loads(image.info["sdopt"])["concepts"].keys() == {"strange"}


def test_several_prompts_and_pictures(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.png"
    code = cli(
        "generate", "shapes", PROMPT, "a green star", "-n", 2, "--steps", 2, "--seed", 3,
        "--scheduler", "euler", "--width", 104, "--height", 72, "--negative", "blurry",
        "--guidance", 4, "-o", out, "--json",
    )  # fmt: skip
    assert code == 0
    report = json.loads(capsys.readouterr().out)
    assert [image["seed"] for image in report["images"]] == [3, 4, 5, 6]
    assert [image["prompt"] for image in report["images"]] == [PROMPT] * 2 + ["a green star"] * 2
    assert report["sheet"] == str(out)
    assert set(report["timings"]) == {
        "text_encoder_ms", "unet_ms", "vae_encoder_ms", "vae_decoder_ms", "overhead_ms", "total_ms",
    }  # fmt: skip
    for image in report["images"]:
        with Image.open(image["path"]) as picture:
            assert picture.size == (104, 72)
            assert json.loads(picture.info["sdopt"])["seed"] == image["seed"]
    with Image.open(out) as sheet:
        assert sheet.size == (2 * 104 + 12, 2 * 72 + 12)


def test_a_picture_from_its_own_settings_is_the_same(cli: Cli, tmp_path: Path) -> None:
    """Picture 2 of a request, made again alone from the settings that its file carries."""
    many, alone = tmp_path / "many.png", tmp_path / "alone.png"
    assert cli("generate", "shapes", PROMPT, "-n", 3, "--steps", 2, "--seed", 8, "-o", many) == 0
    with Image.open(tmp_path / "many-02.png") as image:
        settings = json.loads(image.info["sdopt"])
    assert cli(
        "generate", "shapes", settings["prompt"], "--steps", settings["num_inference_steps"],
        "--seed", settings["seed"], "-o", alone,
    ) == 0  # fmt: skip
    assert alone.read_bytes() == (tmp_path / "many-02.png").read_bytes()


def test_a_schedule_of_one_s_own_and_a_second_model(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "x.png"
    options = ("--scheduler", "euler", "--seed", 0, "-o", out)
    churn = ("--s-churn", 2, "--s-tmin", 0.5, "--s-tmax", 10, "--s-noise", 1.01)
    assert cli("generate", "shapes", PROMPT, "--timesteps", "999,500,9", *churn, *options) == 0
    with Image.open(out) as image:
        settings = json.loads(image.info["sdopt"])
    assert (settings["timesteps"], settings["s_churn"]) == ([999, 500, 9], 2.0)
    second = ("--refiner", "shapes", "--handover", 0.6, "--steps", 5)
    assert cli("generate", "shapes", PROMPT, *second, *options) == 0
    with Image.open(out) as image:
        assert json.loads(image.info["sdopt"])["handover"] == 0.6


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--height", 500, "--width", 512], 2, "height=500 is not a multiple of 8. "),
        (["--scheduler", "eular"], 2, "Unknown scheduler 'eular'. Did you mean 'euler'? Choices: "),
        (["--steps", 0], 2, "num_inference_steps=0 is not allowed. "),
        (["--seed", "abc"], 2, "Invalid value for '--seed': 'abc' is not a valid integer."),
        (["--guidance", -1], 2, "guidance_scale=-1.0 is not allowed. "),
        (["--engine", "tensorrtx"], 2, "Unknown engine 'tensorrtx'. "),
        (["--sigmas", "14;0"], 2, "Invalid value for '--sigmas': '14;0' is not a list such as "),
        (["--handover", 0.8], 2, "handover=0.8 is not allowed. "),
        (["--target-size", 64, 64], 2, "target_size=(64, 64) is not allowed. "),
        (["(cat:1001)"], 2, "prompt weight=1001.0 is not allowed. "),
    ],
)
def test_bad_requests_exit_with_2(
    cli: Cli,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[object],
    code: int,
    message: str,
) -> None:
    assert cli("generate", "shapes", PROMPT, "-o", tmp_path / "x.png", *arguments) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_is_not_there_exits_with_1(
    cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("generate", "nowhere", PROMPT) == 1
    assert "Error: No bundle at 'nowhere'. " in capsys.readouterr().err


def test_a_flipped_byte_stops_before_a_picture_is_made(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(locate("shapes"), bundle)
    graph = bundle / "unet" / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    for command in (["generate", bundle, PROMPT], ["verify", bundle], ["info", bundle]):
        assert cli(*command) == 1
        assert f"Error: {graph} is not the file that was exported" in capsys.readouterr().err


def test_debug_shows_the_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from sdopt.errors import BundleNotFoundError

    with pytest.raises(BundleNotFoundError):
        cli("--debug", "info", "nowhere")


def test_prompts_of_any_length_with_weights(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each in chunks of its own number: none of them warns, and none changes another's picture."""
    long = "(red:1.2) " + " ".join(["circle"] * 90)
    many, alone = tmp_path / "many.png", tmp_path / "alone.png"
    options = ("--steps", 2, "--width", 64, "--height", 64)
    assert cli("generate", "shapes", PROMPT, long, *options, "--seed", 3, "-o", many) == 0
    assert "Warning" not in capsys.readouterr().err
    with Image.open(tmp_path / "many-01.png") as image:
        assert json.loads(image.info["sdopt"])["prompt"] == long
    assert cli("generate", "shapes", long, *options, "--seed", 4, "-o", alone) == 0
    assert alone.read_bytes() == (tmp_path / "many-01.png").read_bytes()


def test_encode_decode_and_latents_of_a_generation(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, latents, again = (tmp_path / name for name in ("a.png", "a.safetensors", "b.png"))
    same = ("generate", "shapes", PROMPT, "--steps", 2, "--seed", 0)
    assert cli(*same, "-o", made) == cli(*same, "-o", latents) == 0
    assert cli("decode", "shapes", latents, again) == 0
    with Image.open(made) as one, Image.open(again) as other:
        assert one.tobytes() == other.tobytes()
    assert cli("encode", "shapes", made, latents, "--width", 64, "--height", 72) == 0
    assert f"{latents}: 4 x 9 x 8, mean " in capsys.readouterr().out
    assert cli(*same, "--image", latents, "--strength", 0.5, "-n", 2, "-o", latents) == 0
    assert cli("decode", "shapes", latents, again, "--vae-tiling", "on") == 0
    names = [tmp_path / f"b-{index:02}.png" for index in range(2)]
    assert capsys.readouterr().out.splitlines()[-2:] == [str(name) for name in names]
    for name in names:
        with Image.open(name) as image:
            assert image.size == (64, 72)


def test_info(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("info", "shapes") == 0
    shown = capsys.readouterr().out
    assert "Stable Diffusion 1.x (sd1), predicts epsilon" in shown
    assert "timestep: float32[batch]" in shown
    assert cli("info", "shapes", "--json") == 0
    assert json.loads(capsys.readouterr().out)["family"] == "sd1"


def test_verify(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("verify", "shapes") == 0
    shown = capsys.readouterr().out
    assert "files are as exported." in shown
    for component in ("text_encoder", "unet", "vae_encoder", "vae_decoder", "loop_tail"):
        assert f"ok     {component}" in shown


def test_demo(cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("demo", "-o", tmp_path / "demo.png") == 0
    shown = capsys.readouterr().out
    assert "12 pictures in" in shown
    assert f"The sheet is {tmp_path / 'demo.png'}" in shown
    with Image.open(tmp_path / "demo.png") as sheet:
        assert sheet.size == (4 * 96 + 20, 3 * 96 + 16)


def test_help_lists_every_command_and_imports_neither_numpy_nor_torch() -> None:
    code = (
        "import sys; from sdopt.cli.main import cli; cli.main(['--help'], standalone_mode=False)\n"
        "print('imported:', [m for m in ('numpy', 'torch', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in ("export", "generate", "info", "verify", "schedulers", "plan", "demo"):
        assert f"\n  {command} " in done.stdout
    assert done.stdout.endswith("imported: []\n")


def test_auto_says_which_engine_and_why(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.png"
    assert cli("generate", "shapes", PROMPT, "--steps", 1, "--engine", "auto", "-o", out) == 0
    assert re.match(
        r"Engine (openvino|onnxruntime): the fastest of those installed: .*\.\n",
        capsys.readouterr().err,
    )


def test_lint(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("lint", "shapes") == 0
    assert capsys.readouterr().out.splitlines() == [
        "text_encoder  ok",
        "vae_encoder   ok",
        "vae_decoder   ok",
        "unet          ok",
        "loop_head     ok",
        "loop_tail     ok",
    ]


def test_info_tells_how_much_memory_an_engine_takes(
    cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("info", "shapes", "--engine", "onnxruntime") == 0
    assert re.search(
        r"Memory +about 0\.2 GB on onnxruntime \(weights 0\.0\), [\d.]+ GB available\n",
        capsys.readouterr().out,
    )
