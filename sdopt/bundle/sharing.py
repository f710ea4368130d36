"""Bundles that share a component share its files: one on the disk, under several names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.manifest import FileRecord, Manifest

_SMALLEST_BYTES = 1_000_000


def share_files(folder: Path, manifest: Manifest, others: Sequence[Bundle]) -> int:
    """Replace files that other bundles hold, with the same content, by hard links to theirs.

    What a bundle holds never changes, so that it makes no difference whose file it is; the content
    stays until the last bundle that has it is removed. Files on another file system are left as
    they are.

    Args:
        folder: A sealed bundle, not yet in use.
        manifest: Its manifest.
        others: Opened bundles, whose files were therefore found to be what their manifests say.

    Returns:
        How many bytes of the disk are free again.
    """
    held: dict[FileRecord, Path] = {
        record: other.path / name
        for other in others
        for name, record in other.manifest.files.items()
    }
    freed_bytes = 0
    for name, record in manifest.files.items():
        if record.size_bytes >= _SMALLEST_BYTES and record in held:
            freed_bytes += record.size_bytes * _linked(held[record], folder / name)
    return freed_bytes


def _linked(held: Path, file: Path) -> bool:
    """Put a hard link in the place of a file, and say whether the file system could."""
    aside = file.with_name(f".{file.name}.link")
    try:
        os.link(held, aside)
    except OSError:
        return False
    aside.replace(file)
    return True
