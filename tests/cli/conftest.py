from __future__ import annotations

import sys
import warnings
from collections.abc import Callable

import pytest

from sdopt.cli.main import main

Cli = Callable[..., int]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run the command line in this process and return its exit code."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["sdopt", *map(str, arguments)])
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return run
