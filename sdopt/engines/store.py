"""Built engines on disk, by what they depend on. A stale engine is never served."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sdopt import __version__
from sdopt.bundle.hashing import VerifiedFiles, cache_folder, record
from sdopt.engines.key import EngineKey
from sdopt.engines.sidecar import (
    ENGINE_FILE,
    FORMAT_VERSION,
    Sidecar,
    UnusableEngineError,
    check_entry,
    read_sidecar,
)
from sdopt.errors import EngineStoreError

Build = Callable[[Path], None]
"""Writes a built engine to the path that it is given."""

_log = logging.getLogger("sdopt.engines")


@dataclass(frozen=True, slots=True)
class StoredEngine:
    """An entry of the store.

    Attributes:
        path: Its folder.
        sidecar: What is said of it; None where nothing that can be read is.
        problem: Why it cannot be used as it lies there; empty where it can.
    """

    path: Path
    sidecar: Sidecar | None
    problem: str

    @property
    def size_bytes(self) -> int:
        """What it takes on disk."""
        return sum(file.stat().st_size for file in self.path.iterdir() if file.is_file())


class EngineStore:
    """A folder of built engines: one folder each, written aside and renamed.

    Several processes may use one store. A lock per key makes the second one wait for what the
    first one builds; the kernel drops the lock of a process that is killed.

    Attributes:
        folder: Where the engines lie; it may not exist yet.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Use the given folder, or ``engines`` in sdopt's cache folder."""
        self.folder = folder or cache_folder() / "engines"

    def obtain(self, key: EngineKey, build: Build) -> Path:
        """Return the engine file of this key, building it unless a sound one is there.

        Why an engine that lies there is not used is logged as a warning of ``sdopt.engines``.

        Raises:
            EngineStoreError: The folder cannot be written.
            EngineError: Building failed; nothing is left under the engine's name.
        """
        with self._locked(key.name, wait=True):
            if reason := self.why(key):
                _log.log(self._level(key), "Building the engine %s: %s.", key.name, reason)
                self._build(key, build)
        return self.folder / key.name / ENGINE_FILE

    def why(self, key: EngineKey) -> str:
        """Say why :meth:`obtain` would build; the empty string if it would not."""
        entry = self.folder / key.name
        if entry.exists():
            try:
                check_entry(entry, key, VerifiedFiles(self.folder))
            except UnusableEngineError as problem:
                return str(problem)
            return ""
        return self._nearest(key) or "none was built yet"

    def discard(self, key: EngineKey, reason: str) -> None:
        """Remove an engine that its backend refused to load, and log why."""
        _log.warning("Dropping the engine %s: %s.", key.name, reason)
        with self._locked(key.name, wait=True):
            shutil.rmtree(self.folder / key.name, ignore_errors=True)

    def entries(self) -> Iterator[StoredEngine]:
        """Give every engine, by name, sound or not."""
        for path in self._paths():
            yield _stored(path, VerifiedFiles(self.folder))

    def built_from(self, component: str, model_sha256: str, engine: str) -> list[StoredEngine]:
        """Return what a backend built of a component, newest first; its ``sidecar`` is there."""
        entries = [
            entry
            for entry in self.entries()
            if entry.sidecar is not None
            and (entry.sidecar.key.component, entry.sidecar.key.engine) == (component, engine)
            and entry.sidecar.key.model_sha256 == model_sha256
        ]
        return sorted(entries, key=_built_at, reverse=True)

    def remove(self, stored: StoredEngine) -> bool:
        """Remove an entry; return whether it is gone. One that is being built or read stays."""
        try:
            with self._locked(stored.path.name, wait=False):
                shutil.rmtree(stored.path, ignore_errors=True)
        except BlockingIOError:
            return False
        return not stored.path.exists()

    def remove_partial(self) -> int:
        """Remove what killed builds have left behind; return how many there were."""
        removed = 0
        for path in self.folder.glob(".*.partial"):
            try:
                with self._locked(path.name[1:].rsplit(".", 2)[0], wait=False):
                    shutil.rmtree(path, ignore_errors=True)
                    removed += 1
            except BlockingIOError:
                continue
        return removed

    def _build(self, key: EngineKey, build: Build) -> None:
        for stale in self.folder.glob(f".{key.name}.*.partial"):
            shutil.rmtree(stale, ignore_errors=True)
        with self._explained():
            partial = Path(
                tempfile.mkdtemp(prefix=f".{key.name}.", suffix=".partial", dir=self.folder)
            )
        try:
            begin = time.monotonic()
            build(partial / ENGINE_FILE)
            with self._explained():
                _describe(key, partial, time.monotonic() - begin)
                shutil.rmtree(self.folder / key.name, ignore_errors=True)
                partial.rename(self.folder / key.name)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def _level(self, key: EngineKey) -> int:
        """A first build is expected; that an earlier one serves no more is worth a word."""
        again = (self.folder / key.name).exists() or self._related_keys(key)
        return logging.WARNING if again else logging.INFO

    def _related_keys(self, key: EngineKey) -> list[EngineKey]:
        """Return the keys of the stored engines of the same component and backend."""
        keys = []
        for path in self._paths():
            with suppress(UnusableEngineError):
                keys.append(read_sidecar(path).key)
        return [k for k in keys if (k.component, k.engine) == (key.component, key.engine)]

    def _nearest(self, key: EngineKey) -> str:
        """Say in what the stored engine that fits best differs; empty where there is none."""
        found = [key.differences(other) for other in self._related_keys(key)]
        fewest = sorted(found, key=len)[:1]
        return "; ".join(*fewest) if fewest else ""

    def _paths(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("[!.]*") if path.is_dir())

    @contextmanager
    def _locked(self, name: str, *, wait: bool) -> Iterator[None]:
        with self._explained():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = (self.folder / f".{name}.lock").open("w")
        with lock as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise
                _log.warning("Waiting for another process that builds the engine %s.", name)
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EngineStoreError(self.folder, os.strerror(error.errno or 0)) from error


def _built_at(entry: StoredEngine) -> str:
    return "" if entry.sidecar is None else entry.sidecar.built_at


def _stored(path: Path, verified: VerifiedFiles) -> StoredEngine:
    sidecar: Sidecar | None = None
    try:
        sidecar = read_sidecar(path)
        check_entry(path, sidecar.key, verified)
        if sidecar.key.name != path.name:
            raise UnusableEngineError("it lies under the name of another engine")
    except UnusableEngineError as problem:
        return StoredEngine(path, sidecar, str(problem))
    return StoredEngine(path, sidecar, "")


def _describe(key: EngineKey, folder: Path, build_s: float) -> None:
    """Write the sidecar, and flush engine and sidecar to the disk."""
    (folder / ENGINE_FILE).chmod(0o600)
    Sidecar(
        format_version=FORMAT_VERSION,
        key=key,
        file=record(folder / ENGINE_FILE),
        sdopt_version=__version__,
        built_at=datetime.now(UTC).isoformat(timespec="seconds"),
        build_s=round(build_s, 3),
    ).write(folder)
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
