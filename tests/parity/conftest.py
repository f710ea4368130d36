"""Exports that several parity tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.parity.families import Family


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Family]:
    """The families that the default tests look at."""
    from tests.parity.families import COMMON, exported

    return exported(tmp_path_factory.mktemp("families"), COMMON)


@pytest.fixture(scope="session")
def rare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Family]:
    """The others."""
    from tests.parity.families import RARE, exported

    return exported(tmp_path_factory.mktemp("families"), RARE)
