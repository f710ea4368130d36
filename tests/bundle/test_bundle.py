"""A bundle is opened only if it is what was exported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.carried import carried_names
from sdopt.errors import (
    BundleError,
    BundleNotFoundError,
    ManifestError,
    MissingFileError,
    TamperedFileError,
)

GRAPH = "unet/model.onnx"


def _flip_one_byte(path: Path) -> None:
    """Change one byte and keep the size."""
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


def test_opening_gives_manifest_family_and_paths(small_bundle: Path) -> None:
    bundle = Bundle.open(small_bundle)
    assert bundle.family.title == "Stable Diffusion 1.x"
    assert bundle.component_path("unet") == small_bundle / GRAPH
    assert bundle.component_bytes("unet") == len(f"content of {GRAPH}")
    assert sorted(bundle.verify_hashes()) == sorted(bundle.manifest.files)


def test_a_flipped_byte_is_found_at_the_first_opening(small_bundle: Path) -> None:
    _flip_one_byte(small_bundle / GRAPH)
    with pytest.raises(TamperedFileError, match=r"model\.onnx is not the file that was exported"):
        Bundle.open(small_bundle)


def test_a_flipped_byte_is_found_after_the_first_opening(small_bundle: Path) -> None:
    Bundle.open(small_bundle)
    _flip_one_byte(small_bundle / GRAPH)
    with pytest.raises(TamperedFileError, match="SHA-256"):
        Bundle.open(small_bundle)


def test_files_found_right_once_are_not_hashed_again(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Bundle.open(small_bundle)
    hashed: list[Path] = []
    monkeypatch.setattr("sdopt.bundle.bundle.sha256", lambda path: hashed.append(path) or "0" * 64)
    Bundle.open(small_bundle)
    assert hashed == []


def test_verifying_hashes_even_what_is_remembered(small_bundle: Path) -> None:
    Bundle.open(small_bundle)
    path = small_bundle / GRAPH
    before = path.stat()
    _flip_one_byte(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    bundle = Bundle.open(small_bundle)  # size, mtime and inode are those that were remembered
    with pytest.raises(TamperedFileError):
        list(bundle.verify_hashes())


def test_a_file_of_another_size(small_bundle: Path) -> None:
    with (small_bundle / GRAPH).open("a") as file:
        file.write("more")
    with pytest.raises(TamperedFileError, match="30 bytes, where the manifest says 26 bytes"):
        Bundle.open(small_bundle)


def test_a_missing_file(small_bundle: Path) -> None:
    (small_bundle / GRAPH).unlink()
    with pytest.raises(MissingFileError) as caught:
        Bundle.open(small_bundle)
    assert str(caught.value) == (
        f"{small_bundle / GRAPH} is named by the bundle's manifest and is missing. "
        "Copy the bundle again, or export the checkpoint again."
    )


def test_links_are_refused_wherever_they_lead(small_bundle: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    (small_bundle / GRAPH).rename(moved)
    (small_bundle / GRAPH).symlink_to(moved)
    with pytest.raises(BundleError, match="is a link"):
        Bundle.open(small_bundle)


def test_a_folder_that_is_a_link_is_refused(small_bundle: Path, tmp_path: Path) -> None:
    (small_bundle / "unet").rename(tmp_path / "unet")
    (small_bundle / "unet").symlink_to(tmp_path / "unet")
    with pytest.raises(BundleError, match="is a link"):
        Bundle.open(small_bundle)


def test_an_unknown_family(small_bundle: Path) -> None:
    manifest = small_bundle / "sdopt.json"
    manifest.write_text(manifest.read_text().replace('"sd1"', '"sd99"'))
    with pytest.raises(ManifestError, match="'sd99' is not one of sd1"):
        Bundle.open(small_bundle)


def test_a_bundle_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError) as caught:
        Bundle.open(tmp_path)
    assert str(caught.value) == (
        f"No bundle at {str(tmp_path)!r}. A bundle is a folder with sdopt.json in it, as "
        f"`sdopt export` writes it, or the name of a carried model: {', '.join(carried_names())}."
    )


def test_the_shapes_model_is_carried() -> None:
    assert "shapes" in carried_names()
    assert Bundle.open("shapes").family.name == "sd1"
