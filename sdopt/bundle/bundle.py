"""Open a bundle that lies on disk, and check that it is what was exported."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from sdopt.bundle.carried import locate
from sdopt.bundle.families import FAMILIES, Family
from sdopt.bundle.hashing import VerifiedFiles, sha256
from sdopt.bundle.manifest import FILE_NAME, Component, FileRecord, Manifest, read_manifest
from sdopt.bundle.onnx_folder import is_onnx_folder, read_onnx_folder
from sdopt.errors import (
    BundleError,
    ManifestError,
    MissingFileError,
    OnnxFolderError,
    TamperedFileError,
)


class Bundle:
    """A folder with a manifest, every file of which is there and has the size it should have.

    A folder that Optimum or diffusers wrote is opened too: its manifest is read off its configs
    and graphs, and nothing in it can be compared with what was exported.

    Attributes:
        path: The folder.
        manifest: What its ``sdopt.json`` says, or would say.
        sealed: Whether the manifest says what the files must be.
        family: The row of the family table that the manifest names.
    """

    def __init__(self, path: Path, manifest: Manifest, *, sealed: bool = True) -> None:
        self.path, self.manifest, self.sealed = path, manifest, sealed
        self.family = _family(manifest)

    @classmethod
    def open(cls, bundle: str | Path) -> Bundle:
        """Open a bundle, by path or by the name of a carried model, and check its files' sizes.

        Hashes are compared at the first opening on this machine, and again whenever a file's
        size, modification time or inode has changed since.

        Raises:
            BundleNotFoundError: There is no such bundle.
            ManifestError: Its manifest cannot be trusted.
            MissingFileError: A file is not there.
            TamperedFileError: A file is not the one that was exported.
            OnnxFolderError: It is another tool's folder, and cannot be used.
        """
        if not (Path(bundle) / FILE_NAME).is_file() and is_onnx_folder(Path(bundle)):
            return cls(Path(bundle), read_onnx_folder(Path(bundle)), sealed=False)
        path = locate(bundle)
        opened = cls(path, read_manifest(path))
        opened._check_files(VerifiedFiles())
        return opened

    def component(self, name: str) -> Component:
        """Return the manifest's entry for a component.

        Raises:
            ManifestError: The bundle has no component of this name.
        """
        try:
            return self.manifest.components[name]
        except KeyError:
            names = ", ".join(self.manifest.components)
            raise ManifestError("components", f"there is no {name!r}, only {names}") from None

    def component_path(self, name: str) -> Path:
        """Return the ONNX file of a component."""
        return self.path / self.component(name).model

    def component_bytes(self, name: str) -> int:
        """Return the size on disk of a component's graph with its weights, in bytes."""
        return sum(record.size_bytes for record in self._component_files(name).values())

    def component_sha256(self, name: str) -> str:
        """Return one hash, as hex, over the hashes of a component's graph and weights."""
        files = sorted(self._component_files(name).items())
        text = "".join(f"{path} {record.sha256}\n" for path, record in files)
        return hashlib.sha256(text.encode()).hexdigest()

    def verify_hashes(self) -> Iterator[str]:
        """Hash every file again, whatever was remembered, yielding each path found right.

        Raises:
            MissingFileError: A file is not there.
            TamperedFileError: A file is not the one that was exported.
            OnnxFolderError: It is another tool's folder, which holds no hashes.
        """
        if not self.sealed:
            raise OnnxFolderError(
                self.path,
                "it says neither what its files must be nor what its graphs must compute",
                "Make a bundle of it first: sdopt import FOLDER OUT",
            )
        verified = VerifiedFiles()
        for name, record in self.manifest.files.items():
            path = self._existing(name)
            _check_size(path, record)
            _check_hash(path, record)
            verified.remember(path, record)
            yield name
        verified.save()

    def _component_files(self, name: str) -> dict[str, FileRecord]:
        """Return the files of a component, without its reference pairs."""
        component = self.component(name)
        folder = component.model.rpartition("/")[0] + "/"
        return {
            path: record
            for path, record in self.manifest.files.items()
            if path.startswith(folder) and path != component.reference
        }

    def _check_files(self, verified: VerifiedFiles) -> None:
        fresh = False
        for name, record in self.manifest.files.items():
            path = self._existing(name)
            _check_size(path, record)
            if not verified.knows(path, record):
                _check_hash(path, record)
                verified.remember(path, record)
                fresh = True
        if fresh:
            verified.save()

    def _existing(self, name: str) -> Path:
        path = self.path / name
        if not path.resolve().is_relative_to(self.path.resolve()) or path.is_symlink():
            raise BundleError(
                f"{path} is a link. A bundle holds plain files only: copy the file itself."
            )
        if not path.is_file():
            raise MissingFileError(path)
        return path


def _family(manifest: Manifest) -> Family:
    try:
        return FAMILIES[manifest.family]
    except KeyError:
        known = ", ".join(FAMILIES)
        raise ManifestError("family", f"{manifest.family!r} is not one of {known}") from None


def _check_size(path: Path, record: FileRecord) -> None:
    size = path.stat().st_size
    if size != record.size_bytes:
        raise TamperedFileError(path, f"{record.size_bytes} bytes", f"{size} bytes")


def _check_hash(path: Path, record: FileRecord) -> None:
    found = sha256(path)
    if found != record.sha256:
        raise TamperedFileError(path, f"SHA-256 {record.sha256[:12]}…", f"SHA-256 {found[:12]}…")
