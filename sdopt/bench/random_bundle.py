"""Bundles with the exact architecture of a known model and random weights, made once and kept.

Latency and memory do not depend on trained weights, so anybody can measure a machine without a
download. The making itself needs the extra ``export``; it runs in processes of its own.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sdopt import __version__
from sdopt.bench.peers.environments import kept, made_once
from sdopt.errors import MissingDependencyError, RandomModelError, UnknownNameError

_SHOWN_LINES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """How a model of true size is made.

    Attributes:
        dtype: What its checkpoint is stored in, as the published one is.
        precision: What it is exported in.
        disk_gb: About how much checkpoint and bundle take together.
    """

    dtype: str
    precision: str
    disk_gb: int


ARCHITECTURES = {
    "sd15": Architecture(dtype="float32", precision="fp32", disk_gb=8),
    "sd21": Architecture(dtype="float32", precision="fp32", disk_gb=10),
    "sdxl": Architecture(dtype="float16", precision="fp16", disk_gb=14),
}


@dataclass(frozen=True, slots=True)
class RandomModel:
    """Where a model with random weights lies: as a checkpoint and as the bundle made from it."""

    checkpoint: Path
    bundle: Path


def random_model(name: str) -> RandomModel:
    """Return a model with random weights, made if it is not there yet: some minutes.

    Args:
        name: In :data:`ARCHITECTURES`.

    Raises:
        UnknownNameError: There is no such architecture.
        MissingDependencyError: torch is not installed.
        RandomModelError: It could not be made.
    """
    if name not in ARCHITECTURES:
        raise UnknownNameError("architecture", name, tuple(ARCHITECTURES))
    folder = made_once(kept("random") / f"{name}-{__version__}", lambda place: _make(name, place))
    return RandomModel(folder / f"{name}-checkpoint", folder / name)


def _make(name: str, folder: Path) -> None:
    if find_spec("torch") is None:
        raise MissingDependencyError("torch", "export")
    chosen = ARCHITECTURES[name]
    checkpoint, bundle = folder / f"{name}-checkpoint", folder / name
    maker = ["sdopt.export.random_checkpoint", str(checkpoint), "--family", name]
    _run(name, [*maker, "--dtype", chosen.dtype])
    _run(name, ["sdopt", "export", str(checkpoint), str(bundle), "--precision", chosen.precision])


def _run(name: str, module: list[str]) -> None:
    command = [sys.executable, "-m", *module]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise RandomModelError(name, " / ".join(said[-_SHOWN_LINES:]), ARCHITECTURES[name].disk_gb)
