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
        job = Job(checkpoint, None, components, precision, 18, out, scratch)
        with warm_worker.running([job]) as messages:
            for _ in messages:
                pass
        return out

    return part
