"""``sdopt build``, and what the other commands make of what it built. The GPU is simulated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.simulated_gpu import running_here

Cli = Callable[..., int]
PROMPT = "a large red circle on a blue background"
ON_GPU = ("--engine", "tensorrt", "--device", "cuda")


def test_build_and_use(
    gpu: ModuleType,
    cli: Cli,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Copy the bundle, build, use it: as docs/tensorrt.md says."""
    monkeypatch.setenv("SDOPT_CACHE", str(tmp_path))
    monkeypatch.setattr("sdopt.engines.tensorrt.build.running", running_here)
    assert cli("engines", "why", "shapes", *ON_GPU) == 0
    assert "unet          has no engine: none was built for this bundle." in capsys.readouterr().out
    options = ["--profile", "96x96:1-2", "--workspace", "1GiB", "--optimization-level", "2"]
    assert cli("build", "shapes", *options) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == "text_encoder   built, for 1 prompt"
    assert second.strip().startswith("1 prompt: relative L2 ")
    assert cli("build", "shapes", *options, "--component", "unet") == 0
    assert capsys.readouterr().out == "unet           was there already, for 96x96:1-2\n"
    assert cli("engines", "why", "shapes", *ON_GPU) == 0
    assert "unet          is stored as unet-" in capsys.readouterr().out
    picture = tmp_path / "picture.png"
    arguments = ["--engine", "auto", "--device", "cuda", "--steps", 1, "--seed", 0, "-o", picture]
    assert cli("generate", "shapes", PROMPT, *arguments) == 0
    assert "Engine tensorrt: " in capsys.readouterr().err
    assert picture.exists()


def test_a_profile_that_is_none(
    gpu: ModuleType, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("build", "shapes", "--profile", "large") == 2
    assert capsys.readouterr().err == (
        "Error: profile='large' is not allowed. profile is WIDTHxHEIGHT, WIDTHxHEIGHT:N or "
        "WIDTHxHEIGHT:MIN-MAX. 512x512:4.\n"
    )


def test_info_says_what_is_not_known(
    gpu: ModuleType, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("info", "shapes", *ON_GPU) == 0
    assert "not measured for tensorrt on cuda" in capsys.readouterr().out
