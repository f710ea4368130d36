"""What takes long to make is made once, by whichever of the test processes comes first."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder of this name, which all processes of one test run share.

    Args:
        factory: Of the process.
        name: Of the folder.
        make: Writes it, to the path that it is given, which does not exist yet.
    """
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    out, partial = shared / f"made-{name}", shared / f"made-{name}.partial"
    with (shared / f"made-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not out.exists():
            shutil.rmtree(partial, ignore_errors=True)  # what a failure left
            make(partial)
            partial.rename(out)
    return out
