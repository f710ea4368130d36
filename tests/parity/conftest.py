"""What the parity tests share."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.made_once import made_once

if TYPE_CHECKING:
    from tests.parity.families import Family


@pytest.fixture(scope="module")
def one_torch_thread() -> Iterator[None]:
    """Let torch use one thread: the models are small, and on a busy machine threads wait."""
    torch = pytest.importorskip("torch", reason="needs sdopt[export]")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Family]:
    """The families that the default tests look at."""
    from tests.parity.families import COMMON, HALF, export, opened

    names = (*COMMON, HALF)
    return opened(made_once(tmp_path_factory, "common-families", partial(export, names)), names)


@pytest.fixture(scope="session")
def rare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Family]:
    """The others."""
    from tests.parity.families import RARE, export, opened

    return opened(made_once(tmp_path_factory, "rare-families", partial(export, RARE)), RARE)
