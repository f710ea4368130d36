"""How a process that is measured talks with the one that measures: lines of JSON.

The first line in is the setup; the first line out says how long starting took. Then each line in
asks for a picture, and each line out says what came of it. Everything is timed in here, so the
pipes are not part of any figure.

This file is also run in the environments of peers, where sdopt is not installed: it needs nothing
but the standard library.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
Make = Callable[[Figures], Figures]
Load = Callable[[], Make]
Import = Callable[[Figures], Load]


def talk(importing: Import, packages: tuple[str, ...]) -> None:
    """Answer until standard input ends.

    Args:
        importing: Imports what the setup needs, and returns what loads it, which in turn returns
            what makes a picture.
        packages: Whose versions are told.
    """
    entered = time.monotonic()
    answers = _own_standard_output()

    def tell(figures: Figures) -> None:
        answers.write(json.dumps(figures) + "\n")
        answers.flush()

    try:
        setup = json.loads(sys.stdin.readline())
        load = importing(setup)
        imported = time.monotonic()
        make = load()
        tell(
            {
                "interpreter_s": entered - setup["started_s"],
                "import_s": imported - entered,
                "load_s": time.monotonic() - imported,
                "versions": versions(packages),
            }
        )
        for line in sys.stdin:
            tell({**make(json.loads(line)), "peak_host_bytes": peak_host_bytes()})
    except Exception as error:  # noqa: BLE001 - it is told to the process that measures
        tell({"error": _message(error)})


def peak_host_bytes() -> int:
    """Return the most memory that this process has had resident so far."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    # Elsewhere, what the system remembers of the process; Linux counts its parent's in.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _message(error: Exception) -> str:
    """Return what an error says; sdopt's own messages need no name before them."""
    own = type(error).__module__.startswith("sdopt.")
    return str(error) if own else f"{type(error).__name__}: {error}"


def _own_standard_output() -> Any:
    """Keep standard output for answers, and send whatever libraries print to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of those packages that are installed here."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
