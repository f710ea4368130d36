"""How many of the machine's CPU cores this process may use.

Backends start a thread for each core of the machine. Where a container or ``taskset`` leaves fewer
to the process, threads that wait for each other in loops then take the time from those that
compute (two processes, each with one of two cores: a batch took 1.5 to 2.5 times as long).
"""

from __future__ import annotations

import os
from pathlib import Path

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Return how many cores this process may keep busy: its CPU affinity, and a container's quota.

    A quota of two and a half cores is two: the third thread would be stopped again and again.
    Source: the Linux kernel's "Control Group v2", cpu.max.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else _all_cores()
    return min(there, _quota())


def threads_of(wanted: int | None) -> int | None:
    """Return how many threads an operator gets; None to leave it to the backend.

    Args:
        wanted: What the user asked for.
    """
    if wanted is not None:
        return wanted
    usable = usable_cores()
    return usable if usable < _all_cores() else None


def _all_cores() -> int:
    return os.cpu_count() or 1


def _quota() -> int:
    """Return the whole cores that a container has the time of; all of them without a limit."""
    try:
        quota, period = map(int, _CPU_MAX.read_text().split())
    except (OSError, ValueError):  # no container, or "max": no limit
        return _all_cores()
    return max(1, quota // period)
