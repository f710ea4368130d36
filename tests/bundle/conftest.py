from __future__ import annotations

from pathlib import Path

import pytest

from tests.bundle.small_bundle import write_small_bundle


@pytest.fixture
def small_bundle(tmp_path: Path) -> Path:
    write_small_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"
