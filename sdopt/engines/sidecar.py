"""The JSON beside a stored engine: its key in words, and the hash of the file it vouches for."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from sdopt.bundle import strict
from sdopt.bundle.hashing import VerifiedFiles, sha256
from sdopt.bundle.manifest import FileRecord
from sdopt.engines.key import EngineKey
from sdopt.errors import ManifestError

FORMAT_VERSION = 1
ENGINE_FILE = "engine.bin"
SIDECAR_FILE = "engine.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """What is written beside a built engine.

    Attributes:
        format_version: Of this file.
        key: What the engine was built from, with and for.
        file: Size and SHA-256 of the engine.
        sdopt_version: The version that built it.
        built_at: UTC, ISO 8601.
        build_s: How long building took, in seconds.
    """

    format_version: int
    key: EngineKey
    file: FileRecord
    sdopt_version: str
    built_at: str
    build_s: float

    def write(self, entry: Path) -> None:
        """Write it into the engine's folder."""
        text = json.dumps(strict.plain(self), indent=2, ensure_ascii=False)
        (entry / SIDECAR_FILE).write_text(text + "\n", encoding="utf-8")
        (entry / SIDECAR_FILE).chmod(0o600)


class UnusableEngineError(Exception):
    """Why a stored engine is not loaded. Caught within this room: the engine is built again."""


def read_sidecar(entry: Path) -> Sidecar:
    """Read the sidecar of a stored engine.

    Raises:
        UnusableEngineError: There is none, or it is not one.
    """
    try:
        data = json.loads((entry / SIDECAR_FILE).read_text(encoding="utf-8"))
        sidecar = strict.read(Sidecar, data, "sidecar")
    except FileNotFoundError:
        raise UnusableEngineError(f"no {SIDECAR_FILE} vouches for it") from None
    except (OSError, ValueError) as error:
        raise UnusableEngineError(f"its {SIDECAR_FILE} cannot be read: {error}") from error
    except ManifestError as error:
        raise UnusableEngineError(
            f"its {SIDECAR_FILE} is not one: {error.where}: {error.problem}"
        ) from error
    if sidecar.format_version != FORMAT_VERSION:
        raise UnusableEngineError(
            f"its {SIDECAR_FILE} has format_version {sidecar.format_version}, not {FORMAT_VERSION}"
        )
    return sidecar


def check_entry(entry: Path, key: EngineKey, verified: VerifiedFiles) -> None:
    """Check that a stored engine is the one that was built for this key.

    Raises:
        UnusableEngineError: It is foreign, damaged, or others may have changed it.
    """
    sidecar = read_sidecar(entry)
    if differences := key.differences(sidecar.key):
        raise UnusableEngineError(f"it is foreign: {'; '.join(differences)}")
    engine = entry / ENGINE_FILE
    if not engine.is_file() or engine.is_symlink():
        raise UnusableEngineError(f"its {ENGINE_FILE} is missing")
    _check_owner(entry)
    _check_owner(engine)
    _check_content(engine, sidecar.file, verified)


def _check_content(engine: Path, expected: FileRecord, verified: VerifiedFiles) -> None:
    size = engine.stat().st_size
    if size != expected.size_bytes:
        raise UnusableEngineError(
            f"{ENGINE_FILE} has {size} bytes, where its sidecar says {expected.size_bytes}"
        )
    if verified.knows(engine, expected):
        return
    if sha256(engine) != expected.sha256:
        raise UnusableEngineError(f"{ENGINE_FILE} has been changed since it was built")
    verified.remember(engine, expected)
    verified.save()


def _check_owner(path: Path) -> None:
    """An engine is executable code: only its owner may have been able to write it."""
    status = path.stat()
    if status.st_uid not in (0, os.geteuid()):
        raise UnusableEngineError(f"{path.name} belongs to another user (uid {status.st_uid})")
    if status.st_mode & (stat.S_IWOTH | stat.S_IWGRP):
        raise UnusableEngineError(
            f"{path.name} can be written by others (mode {stat.S_IMODE(status.st_mode):o})"
        )
