"""An environment for each peer's library, and the checkpoint in the form that it wants.

Both are made once and kept in sdopt's cache. A folder without ``READY`` was not finished, and is
made again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from sdopt.bench.peers.catalog import Library, Peer
from sdopt.bench.peers.older_names import write_with_older_names
from sdopt.bench.sides import Side
from sdopt.bench.work import Case
from sdopt.bundle.hashing import cache_folder
from sdopt.errors import PeerError

_HERE = Path(__file__).parent
_READY = "READY"
_SHOWN_LINES = 5
_FORMAT = 2
"""Of converted models: those that were made in another way are made again."""
_EXPORTS = {"optimum": "onnx", "openvino": "openvino"}
"""What ``optimum-cli export`` makes for a library; diffusers reads the checkpoint itself."""


def peer_side(peer: Peer, checkpoint: Path, case: Case, device: str = "cpu") -> Side:
    """Make what a peer needs, where it is not there yet, and say how it is started.

    Raises:
        PeerError: Its packages cannot be installed, or the checkpoint not be converted.
    """
    environment = ensure_environment(peer.library)
    model = _model(peer.library, checkpoint, environment)
    work = {"height": case.height, "width": case.width, "batch": case.batch, "device": device}
    return Side(
        name=peer.name,
        command=(str(environment / "bin" / "python"), str(_HERE / "side.py")),
        setup={"library": peer.library, "model": str(model), **work, **peer.settings},
        environment=_variables(),
    )


def ensure_environment(library: Library) -> Path:
    """Return the environment of a library, made if need be, with pinned requirements.

    Raises:
        PeerError: Its packages cannot be installed.
    """
    requirements = _HERE / "requirements" / f"{library}.txt"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    key = hashlib.sha256(f"{version}\n{requirements.read_text()}".encode()).hexdigest()[:12]

    def make(folder: Path) -> None:
        _run(library, [sys.executable, "-m", "venv", str(folder)])
        pip = [str(folder / "bin" / "pip"), "install", "--quiet"]
        for line in _torch(requirements):
            _run(library, [*pip, line])
        _run(library, [*pip, "--no-deps", "--requirement", str(requirements)])

    return made_once(kept("peers") / f"{library}-{key}", make)


def _torch(requirements: Path) -> list[str]:
    """Return the line about torch, which alone brings what its build for this machine needs.

    All other lines are complete lists: what they leave out (torchvision) is not wanted.
    """
    lines = requirements.read_text(encoding="utf-8").split()
    return [line for line in lines if line.startswith("torch==")]


def _model(library: Library, checkpoint: Path, environment: Path) -> Path:
    if library not in _EXPORTS:
        return checkpoint.resolve()
    command = [str(environment / "bin" / "optimum-cli"), "export", _EXPORTS[library]]
    weights = ["--weight-format", "fp32"] if library == "openvino" else []

    def make(folder: Path) -> None:
        with TemporaryDirectory() as place:
            renamed = Path(place) / "checkpoint"
            write_with_older_names(checkpoint, renamed)
            what = ["--model", str(renamed), "--task", "text-to-image", *weights]
            _run(library, [*command, *what, str(folder)])

    return made_once(kept("converted") / f"{library}-{_state(checkpoint)}", make)


def kept(name: str) -> Path:
    """Return a folder of sdopt's cache for what is made for measurements."""
    folder = cache_folder() / "bench" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return a folder that is made if it was not finished before."""
    if not (folder / _READY).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        make(folder)
        (folder / _READY).touch()
    return folder


def _state(checkpoint: Path) -> str:
    """Return a digest of where a checkpoint lies and of its files' names, sizes and times."""
    digest = hashlib.sha256(f"{_FORMAT} {checkpoint.resolve()}".encode())
    for path in sorted(path for path in checkpoint.rglob("*") if path.is_file()):
        status = path.stat()
        digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]


def _run(library: str, command: Sequence[str]) -> None:
    done = subprocess.run(  # noqa: S603 - a command that we made
        command, capture_output=True, text=True, check=False, env=_variables()
    )
    if done.returncode:
        last = " / ".join(done.stderr.splitlines()[-_SHOWN_LINES:])
        raise PeerError(library, " ".join(command), last)


def _variables() -> dict[str, str]:
    """Return our own variables, without what would let a peer see our packages or a network."""
    ours = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {**ours, "HF_HUB_OFFLINE": "1"}
