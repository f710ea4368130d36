"""What a record says about where it was made."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path


def machine() -> dict[str, object]:
    """Describe the machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "niceness": os.nice(0),
    }


def versions(*packages: str) -> dict[str, str]:
    """Name the installed versions."""
    return {name: version(name) for name in packages}
