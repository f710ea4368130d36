"""Bundles that share a component share its files on the disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.sharing import share_files
from sdopt.bundle.writer import seal, writing_aside
from tests.bundle.small_bundle import small_manifest


def write(out: Path, unet: bytes, others: tuple[Bundle, ...] = ()) -> tuple[Bundle, int]:
    """Write a bundle whose tokenizer file is large and always the same."""
    contents = {
        "unet/model.onnx": unet,
        "unet/reference.safetensors": b"reference",
        "tokenizer/vocab.json": b"v" * 2_000_000,
    }
    with writing_aside(out) as folder:
        for name, content in contents.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        freed_bytes = share_files(folder, seal(folder, small_manifest()), others)
    return Bundle.open(out), freed_bytes


def test_large_files_of_the_same_content_are_one(tmp_path: Path) -> None:
    first, _ = write(tmp_path / "first", b"1" * 3_000_000)
    second, freed_bytes = write(tmp_path / "second", b"2" * 3_000_000, (first,))
    assert freed_bytes == 2_000_000
    for name, same in (
        ("tokenizer/vocab.json", True),
        ("unet/model.onnx", False),
        ("unet/reference.safetensors", False),
    ):
        assert (first.path / name).samefile(second.path / name) is same
    assert len(list(second.verify_hashes())) == 3
    for name in first.manifest.files:
        (first.path / name).unlink()
    assert len(list(second.verify_hashes())) == 3


def test_where_links_cannot_be_made_files_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def another_file_system(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    first, _ = write(tmp_path / "first", b"1")
    monkeypatch.setattr(os, "link", another_file_system)
    second, freed_bytes = write(tmp_path / "second", b"1", (first,))
    assert freed_bytes == 0
    assert len(list(second.verify_hashes())) == 3
