"""Write a bundle so that its name appears only when all of it is there."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sdopt.bundle.hashing import record
from sdopt.bundle.manifest import FILE_NAME, Manifest
from sdopt.errors import BundleWriteError


@contextmanager
def writing_aside(out: Path) -> Iterator[Path]:
    """Give a temporary sibling of ``out`` to write into, and rename it to ``out`` at the end.

    If the block raises (Ctrl-C included) the temporary folder is removed. A killed process leaves
    only a folder named ``.NAME.PID.partial``, which the next writer of the same name clears away.

    Args:
        out: The final folder. It must not exist, or be an empty folder.

    Yields:
        The temporary folder, empty.

    Raises:
        BundleWriteError: ``out`` exists already, or the disk is full.
    """
    _refuse_existing(out)
    partial = out.parent / f".{out.name}.{os.getpid()}.partial"
    with _explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        _clear_stale(out)
        partial.mkdir()
    try:
        with _explained(out):
            yield partial
            _refuse_existing(out)
            if out.is_dir():
                out.rmdir()
            partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Hash every file of a folder, write its manifest, and flush all of it to the disk.

    Args:
        folder: Holds every file of the bundle but the manifest.
        manifest: All but ``files``, which is filled in here.

    Returns:
        The manifest as written.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {path.relative_to(folder).as_posix(): record(path) for path in paths}
    complete = replace(manifest, files=files)
    (folder / FILE_NAME).write_text(complete.to_json(), encoding="utf-8")
    for path in (*paths, folder / FILE_NAME):
        _flush(path)
    return complete


@contextmanager
def _explained(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
            raise
        raise BundleWriteError(
            out,
            f"{os.strerror(error.errno)}",
            "Free some space or choose another folder, and run the command again",
        ) from error


def _refuse_existing(out: Path) -> None:
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() or out.is_symlink():
        raise BundleWriteError(
            out,
            "it exists already",
            "Choose another name, or remove it first if you no longer need it",
        )


def _clear_stale(out: Path) -> None:
    for path in out.parent.glob(f".{out.name}.*.partial"):
        pid = path.name.split(".")[-2]
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
