"""`sdopt schedulers` and `sdopt plan`: tables that fit a terminal, JSON, and a plot."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdopt.runtime.schedulers import SD1_CONFIG, compile_plan, scheduler_names

Cli = Callable[..., int]
Shown = pytest.CaptureFixture[str]


@pytest.fixture(params=[80, 120])
def columns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    width: int = request.param
    monkeypatch.setenv("COLUMNS", str(width))
    return width


def test_schedulers(cli: Cli, capsys: Shown, columns: int) -> None:
    assert cli("schedulers") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    assert lines[0] == "Name             Evals   Order  Noise       σ    In diffusers"
    assert "heun             2N - 1  2      none        keb  HeunDiscreteScheduler" in lines
    assert (
        "euler_ancestral  N       1      every step       EulerAncestralDiscreteScheduler" in lines
    )
    text = " ".join(" ".join(lines).split())
    assert "varied, never converging. Turbo's own. Also Euler a." in text
    assert "k _karras, e _exponential, b _beta." in text


def test_schedulers_as_json(cli: Cli, capsys: Shown) -> None:
    assert cli("schedulers", "--json") == 0
    table = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert table["dpmpp_2m"] == {
        "name": "dpmpp_2m",
        "class_name": "DPMSolverMultistepScheduler",
        "other_names": ["DPM++ 2M"],
        "evaluations": "N",
        "order": 2,
        "noise": "none",
        "options": ["timesteps"],
        "sigma_spacings": ["karras", "exponential", "beta"],
        "summary": "Second order multistep: the best pictures without noise at 15 to 25 steps.",
    }


@pytest.mark.parametrize("name", scheduler_names())
def test_every_plan_fits_80_columns(
    cli: Cli, capsys: Shown, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli("plan", name, "--steps", 7) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    assert shown.startswith(f"{name}: ")


def test_a_plan_in_print(cli: Cli, capsys: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli("plan", "lms", "--steps", 2) == 0
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "lms: 2 evaluations, no fresh noise.",
        "Keeps 4 arrays of latents; the first starts as 14.6146 × noise.",
        "",
        "Stage   t       σ SNR dB   in←x x←x    x←h1    x←out",
        "─" * 52,
        "    0 999 14.6146 -23.30 0.0683   1       0 -14.5855",
        "    1   0  0.0292  30.70 0.9996   1 2.9e-05  -0.0292",
        "  end           0      ∞",
        "",
        "h1 ← out at every stage",
        "h2 ← h1 at every stage",
        "h3 ← h2 at every stage",
        "x: latents. out: the UNet's output after guidance. h1 and so on: the solver's",
        "history. x←out: what out is multiplied by on its way into the next x. in←x: the",
        "same for the UNet's input.",
    ]


def test_a_plan_as_json(cli: Cli, capsys: Shown) -> None:
    assert cli("plan", "ddim", "--steps", 5, "--eta", 0.5, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    plan = compile_plan(SD1_CONFIG, 5, scheduler="ddim", eta=0.5)
    assert (shown["name"], shown["stages"], shown["state_rows"]) == ("ddim", 5, 1)
    for field in ("timesteps", "inputs", "updates", "denoised", "noisy", "start", "renoise"):
        np.testing.assert_array_equal(shown[field], getattr(plan, field))
    assert cli("plan", "euler", "--json") == 0
    assert json.loads(capsys.readouterr().out)["snr_db"][-1] is None  # infinite


def test_what_a_request_changes(cli: Cli, capsys: Shown) -> None:
    arguments = ["--steps", 10, "--strength", 0.5, "--denoising-end", 0.8, "--s-churn", 4]
    assert cli("plan", "euler", *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "euler: 3 evaluations, fresh noise at 3 of them."
    sigma = compile_plan(SD1_CONFIG, 10, scheduler="euler", strength=0.5).start[1]
    assert lines[1] == f"Keeps latents alone, which start as 1 × image + {sigma:.6g} × noise."


def test_a_plan_that_takes_over(cli: Cli, capsys: Shown) -> None:
    assert cli("plan", "ddim", "--steps", 10, "--denoising-start", 0.8) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ddim: 2 evaluations, no fresh noise."
    assert lines[1] == "Keeps latents alone, which start as 1 × image."


def test_without_a_name_it_is_the_configurations_scheduler(cli: Cli, capsys: Shown) -> None:
    assert cli("plan", "--steps", 3) == 0
    assert capsys.readouterr().out.startswith("pndm: 4 evaluations, no fresh noise.\n")


def test_the_configuration_of_a_bundle(cli: Cli, capsys: Shown) -> None:
    assert cli("plan", "euler", "--bundle", "shapes", "--steps", 3) == 0
    assert capsys.readouterr().out.startswith("euler: 3 evaluations, no fresh noise.\n")
    assert cli("plan", "euler", "--bundle", "nowhere") == 1
    assert "Error: No bundle at 'nowhere'. " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["unipc", "dpmpp_3m_sde_karras", "euler", "heun"])
def test_a_plot(cli: Cli, capsys: Shown, tmp_path: Path, name: str) -> None:
    pytest.importorskip("matplotlib", reason="needs sdopt[bench]")
    path = tmp_path / "new" / "plan.png"
    assert cli("plan", name, "--steps", 70, "--plot", path) == 0
    assert capsys.readouterr().out.endswith(f"The plot is {path}\n")
    with Image.open(path) as image:
        assert image.size == (1500, 1050)
        assert len(image.convert("RGB").getcolors(maxcolors=1 << 24) or []) > 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eular"], "Error: Unknown scheduler 'eular'. Did you mean 'euler'? Choices: "),
        (
            ["euler", "--steps", 0],
            "Error: num_inference_steps=0 is not allowed. "
            "num_inference_steps is a whole number from 1 to 1000.\n",
        ),
        (
            ["heun", "--s-churn", 4],
            "Error: s_churn=4.0 is not allowed. "
            "s_churn is 0 for heun. It has an effect for euler alone.\n",
        ),
        (
            ["euler", "--plot", "plan.jpeg"],
            "Error: plot='plan.jpeg' is not allowed. "
            "plot is a file name that ends in .png, .svg, .pdf.\n",
        ),
    ],
)
def test_what_cannot_be_done_exits_with_2(
    cli: Cli, capsys: Shown, arguments: list[object], message: str
) -> None:
    assert cli("plan", *arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(message)


def test_without_matplotlib_the_extra_is_named(
    cli: Cli, capsys: Shown, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert cli("plan", "euler", "--plot", tmp_path / "new" / "plan.png") == 1
    assert capsys.readouterr().err == (
        "Error: matplotlib is not installed. Install it with: pip install 'sdopt[bench]'\n"
    )
    assert list(tmp_path.iterdir()) == []
