"""Where a measurement was made: the machine, its state, and the versions of what ran."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sdopt.engines.cores import usable_cores

_CPUINFO = Path("/proc/cpuinfo")
_MEMINFO = Path("/proc/meminfo")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_GPU_FIELDS = (
    "name",
    "driver_version",
    "memory.total",
    "clocks.sm",
    "clocks.mem",
    "power.draw",
    "power.limit",
    "temperature.gpu",
)
_SHOWN_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "avx512_vnni", "amx_int8", "asimd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """The host's processor.

    Attributes:
        name: As it calls itself.
        cores: How many of them this process may use.
        mhz: The clock of the first one when the measurement began; None where it is not told.
        governor: How the clock is set; None where it is not told, as in most virtual machines.
        flags: Instruction sets that decide how fast networks run.
    """

    name: str
    cores: int
    mhz: float | None
    governor: str | None
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The machine and the state that it was in when the measurement began.

    Attributes:
        system: Operating system and kernel.
        python: Version of the interpreter that measured.
        processor: The host's.
        memory_bytes: Of the host; None where it is not told.
        load_average: Processes that wanted to run, over the minute before.
        gpus: What ``nvidia-smi`` says of each GPU, by its own names and in its own units.
        versions: Of the packages that the measured process had.
    """

    system: str
    python: str
    processor: Processor
    memory_bytes: int | None
    load_average: float
    gpus: tuple[Mapping[str, str], ...]
    versions: Mapping[str, str]

    def of(self, versions: Mapping[str, str]) -> Environment:
        """Return the same with the versions of another process."""
        return replace(self, versions=dict(versions))


def environment() -> Environment:
    """Describe this machine as it is now, without any package."""
    return Environment(
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        processor=_processor(_CPUINFO, _GOVERNOR),
        memory_bytes=_memory_bytes(_MEMINFO),
        load_average=round(os.getloadavg()[0], 2),
        gpus=gpus(),
        versions={},
    )


def gpus() -> tuple[dict[str, str], ...]:
    """Ask ``nvidia-smi`` about every GPU; empty where there is none."""
    rows = _nvidia_smi(f"--query-gpu={','.join(_GPU_FIELDS)}")
    return tuple(dict(zip(_GPU_FIELDS, row, strict=False)) for row in rows)


def device_bytes(process: int) -> int | None:
    """Ask ``nvidia-smi`` how much GPU memory a process holds; None where it does not know."""
    rows = _nvidia_smi("--query-compute-apps=pid,used_memory", "nounits")
    held = [int(row[1]) for row in rows if row[0] == str(process) and row[1].isdigit()]
    return sum(held) * 2**20 if held else None


def _nvidia_smi(query: str, *formats: str) -> list[list[str]]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, query, f"--format={','.join(('csv', 'noheader', *formats))}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        return []
    return [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line]


def _processor(cpuinfo: Path, governor: Path) -> Processor:
    facts = _facts(cpuinfo)
    flags = facts.get("flags", facts.get("Features", "")).split()
    mhz = facts.get("cpu MHz")
    return Processor(
        name=facts.get("model name") or platform.processor() or platform.machine(),
        cores=usable_cores(),
        mhz=float(mhz) if mhz else None,
        governor=governor.read_text().strip() if governor.is_file() else None,
        flags=tuple(flag for flag in _SHOWN_FLAGS if flag in flags),
    )


def _facts(cpuinfo: Path) -> dict[str, str]:
    """Read what is said of the first core."""
    if not cpuinfo.is_file():
        return {}
    first = cpuinfo.read_text(encoding="utf-8").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _memory_bytes(meminfo: Path) -> int | None:
    if not meminfo.is_file():
        return None
    line = next(x for x in meminfo.read_text().splitlines() if x.startswith("MemTotal:"))
    return int(line.split()[1]) * 1024
