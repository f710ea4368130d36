"""SHA-256 of files, and a memory of which files were found right on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path

from sdopt.bundle.manifest import FileRecord


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record(path: Path) -> FileRecord:
    """Measure a file as the manifest describes it."""
    return FileRecord(size_bytes=path.stat().st_size, sha256=sha256(path))


def cache_folder() -> Path:
    """Return ``$SDOPT_CACHE``, or ``~/.cache/sdopt``; the folder may not exist yet."""
    if chosen := os.environ.get("SDOPT_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sdopt"


class VerifiedFiles:
    """Remembers, per file, with which size, mtime and inode its hash was last found right.

    Hashing gigabytes at every start would cost seconds. A file that has not changed since it was
    hashed on this machine is not hashed again. A cache that cannot be written is no error: the
    files are then hashed each time.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._path = (folder or cache_folder()) / "verified.json"
        try:
            self._seen: dict[str, str] = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._seen = {}

    def knows(self, path: Path, expected: FileRecord) -> bool:
        """Say whether this very file was found to have the expected hash before."""
        return self._seen.get(str(path.resolve())) == _fingerprint(path, expected)

    def remember(self, path: Path, expected: FileRecord) -> None:
        """Note that this file was found to have the expected hash."""
        self._seen[str(path.resolve())] = _fingerprint(path, expected)

    def save(self) -> None:
        """Write the memory, aside and renamed, so that readers never see half of it."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._path.parent)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(self._seen, file, indent=1)
            Path(name).replace(self._path)
        except OSError:
            return


def _fingerprint(path: Path, expected: FileRecord) -> str:
    status = path.stat()
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ino}:{expected.sha256}"
