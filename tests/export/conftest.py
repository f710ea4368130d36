"""One tiny checkpoint and one export of it for all tests of this room: tracing is what costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sdopt.export import export
from sdopt.export.jobs import Job
from sdopt.export.workers import running
from tests.export.graphs import Tiny, run_graph

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    out = tmp_path_factory.mktemp("tiny")
    script = [sys.executable, str(HERE / "tiny_checkpoint.py"), str(out)]
    subprocess.run(script, check=True, capture_output=True)
    return Tiny(out / "checkpoint", out / "expected")


@pytest.fixture(scope="session")
def tiny_export(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the tiny checkpoint, in fp32."""
    out = tmp_path_factory.mktemp("exported") / "bundle"
    export(tiny.checkpoint, out, run=run_graph)
    return out


@pytest.fixture
def export_part(tmp_path: Path) -> Any:
    """Export a few components only, without parity and manifest, and return their folder."""

    def part(checkpoint: Path, *components: str, precision: Any = "fp32") -> Path:
        out, scratch = tmp_path / "out", tmp_path / "scratch"
        out.mkdir()
        scratch.mkdir()
        job = Job(checkpoint, None, components, precision, 18, out, scratch)
        with running([job]) as messages:
            for _ in messages:
                pass
        return out

    return part
