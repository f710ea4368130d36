"""Fixtures that several rooms' tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import sdopt
from sdopt.pipeline import Pipeline


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the tests' cache apart from the user's."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDOPT_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def shapes() -> Pipeline:
    """The carried model on ONNX Runtime."""
    return sdopt.load("shapes")


@pytest.fixture(scope="session")
def shapes_checkpoint() -> Path:
    """The checkpoint that the carried bundle was exported from."""
    return Path(__file__).parents[1] / "models" / "shapes" / "checkpoint"
