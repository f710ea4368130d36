"""What only this room's tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sdopt.export.jobs import Job
from tests.export.warm_worker import WarmWorker


@pytest.fixture
def export_part(tmp_path: Path, warm_worker: WarmWorker) -> Any:
    """Export a few components only, without parity and manifest, and return their folder."""

    def part(checkpoint: Path, *components: str, precision: Any = "fp32") -> Path:
        out, scratch = tmp_path / "out", tmp_path / "scratch"
        out.mkdir()
        scratch.mkdir()
        warm_worker.do(Job(checkpoint, None, components, precision, 18, out, scratch))
        return out

    return part
