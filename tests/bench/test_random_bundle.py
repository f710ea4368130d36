"""Models of true size with random weights, made once and kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sdopt.bench import random_bundle
from sdopt.bench.random_bundle import ARCHITECTURES, random_model
from sdopt.errors import RandomModelError, UnknownNameError
from tests.cli.conftest import Cli


def test_a_model_is_made_once_and_what_failed_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="needs sdopt[export]")
    monkeypatch.setenv("SDOPT_CACHE", str(tmp_path))
    ran: list[list[str]] = []

    def run(name: str, module: list[str]) -> None:
        ran.append(module)
        if len(ran) == 1:
            raise RandomModelError(name, "No room", 14)
        Path(module[3 if module[0] == "sdopt" else 1]).mkdir(parents=True)

    monkeypatch.setattr(random_bundle, "_run", run)
    with pytest.raises(RandomModelError, match="No room"):
        random_model("sdxl")
    made = random_model("sdxl")
    assert [module[0] for module in ran] == ["sdopt.export.random_checkpoint"] * 2 + ["sdopt"]
    assert ran[1][2:] == ["--family", "sdxl", "--dtype", "float16"]
    assert ran[2] == ["sdopt", "export", str(made.checkpoint), str(made.bundle), *_FP16]
    assert random_model("sdxl") == made
    assert len(ran) == 3


_FP16 = ["--precision", "fp16"]


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RandomModelError) as caught:
        random_bundle._run("sd15", ["sdopt", "export", str(tmp_path / "nothing"), "out"])
    assert str(caught.value).startswith("sd15 with random weights could not be made. Error: ")
    assert str(caught.value).endswith(
        "It takes about 8 GB of disk in sdopt's cache: set SDOPT_CACHE to a folder with more room, "
        "if that is what is missing."
    )


def test_wrong_names_are_refused(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown architecture 'sd3'\. .*Choices: sd15, "):
        random_model("sd3")
    assert cli("bench", "shapes", "--random", "sd15") == 2
    assert "Name one thing to measure: BUNDLE or --random NAME." in capsys.readouterr().err
    assert cli("bench", "--runs", "3") == 2
    assert "Name one thing to measure: BUNDLE or --random NAME." in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_has_its_true_size(name: str) -> None:
    """Counted without memory for weights: torch's meta device."""
    code = f"""
import json, torch
from sdopt.export.random_checkpoint import makers
torch.set_default_device("meta")
made = {{k: m() for k, m in makers({name!r}).items() if k != "scheduler"}}
print(json.dumps({{k: sum(p.numel() for p in m.parameters()) for k, m in made.items()}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    millions = {k: round(v / 1e6) for k, v in json.loads(done.stdout.splitlines()[-1]).items()}
    assert (
        millions
        == {
            "sd15": {"unet": 860, "vae": 84, "text_encoder": 123},
            "sd21": {"unet": 866, "vae": 84, "text_encoder": 340},
            "sdxl": {"unet": 2567, "vae": 84, "text_encoder": 123, "text_encoder_2": 695},
        }[name]
    )
