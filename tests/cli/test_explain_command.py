"""`sdopt explain`: the sheet and its figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdopt.pipeline import Pipeline

PROMPT = "a yellow star on a green background"
Cli = Callable[..., int]


def test_the_command_writes_a_sheet(
    cli: Cli, shapes: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    star = shapes(PROMPT, seed=12, num_inference_steps=10).images[0]
    star.save(tmp_path / "star.png")
    sheet = tmp_path / "new" / "sheet.png"
    asked = ("--prompt", PROMPT, "--steps", 8, "--seed", 5, "--scheduler", "euler", "--json")
    assert cli("explain", tmp_path / "star.png", *asked, "-o", sheet) == 0
    out, err = capsys.readouterr()
    figures = json.loads(out)
    assert figures["settings"]["scheduler"] == "euler"
    assert f"The sheet is {sheet}" in err
    with Image.open(sheet) as image:
        pixels = np.asarray(image.convert("RGB"))
    # The picture itself is on it, in its own green.
    green = np.asarray(star)[2, 2].astype(int)
    assert (np.abs(pixels.astype(int) - green).max(axis=2) <= 2).mean() > 0.05


def test_a_sheet_that_cannot_be_written_is_refused_before_anything_is_computed(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("explain", tmp_path / "none.png", "-o", "sheet.jpg") == 2
    assert capsys.readouterr().err == (
        "Error: output='sheet.jpg' is not allowed. output is a file name that ends in .png, .svg, "
        ".pdf.\n"
    )
