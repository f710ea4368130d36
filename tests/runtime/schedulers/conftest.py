"""diffusers' schedulers, as they are and in float64, for tests that trace them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.runtime.schedulers.tracing import Diffusers, diffusers, in_double


@pytest.fixture(autouse=True)
def _quiet_diffusers() -> Iterator[None]:
    """Keep diffusers' remarks on configuration keys out of the test output."""
    before = diffusers.logging.get_verbosity()
    diffusers.logging.set_verbosity_error()
    yield
    diffusers.logging.set_verbosity(before)


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch) -> Diffusers:
    """Diffusers as it is: tables in float32."""
    return Diffusers(monkeypatch, double=False)


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[Diffusers]:
    """Diffusers patched to compute its tables in float64."""
    with in_double(monkeypatch) as patched:
        yield patched
