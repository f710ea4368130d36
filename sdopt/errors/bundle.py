"""What lies on disk is not a bundle that can be trusted."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sdopt.errors.base import SdoptError, sentences


class BundleError(SdoptError):
    """What lies on disk is not a bundle that can be trusted."""


class BundleNotFoundError(BundleError):
    """Neither a folder with a manifest nor the name of a carried model."""

    def __init__(self, name: str, carried: Iterable[str]) -> None:
        self.name, self.carried = name, tuple(carried)
        super().__init__(
            f"No bundle at {name!r}. A bundle is a folder with sdopt.json in it, as `sdopt export` "
            f"writes it, or the name of a carried model: {', '.join(self.carried) or 'none'}."
        )


class ManifestError(BundleError):
    """sdopt.json says something that it may not say."""

    def __init__(self, where: str, problem: str, hint: str = "") -> None:
        self.where, self.problem, self.hint = where, problem, hint
        super().__init__(
            sentences(
                f"Manifest sdopt.json, {where}: {problem}", hint or "Export the checkpoint again"
            )
        )


class MissingFileError(BundleError):
    """A file that the manifest names is not there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"{path} is named by the bundle's manifest and is missing. "
            "Copy the bundle again, or export the checkpoint again."
        )


class TamperedFileError(BundleError):
    """A file whose size or content differs from what the manifest says."""

    def __init__(self, path: Path, expected: str, actual: str) -> None:
        self.path, self.expected, self.actual = path, expected, actual
        super().__init__(
            f"{path} is not the file that was exported: "
            f"{actual}, where the manifest says {expected}. "
            "Copy the bundle again, or export the checkpoint again."
        )


class LoopGraphsError(BundleError):
    """The denoising loop is to run on a device, and the bundle has no graphs for that."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"{path} has no loop graphs (loop_head and loop_tail) that this sdopt can run, and "
            "loop='device' needs them. Export or import the model again, or leave loop at 'auto'."
        )


class OnnxFolderError(BundleError):
    """An ONNX folder of another tool that is not complete, or of a family that is not known."""

    def __init__(self, path: Path, problem: str, hint: str) -> None:
        self.path, self.problem, self.hint = path, problem, hint
        super().__init__(sentences(f"ONNX folder {path}: {problem}", hint))


class BundleWriteError(BundleError):
    """A bundle folder could not be written; nothing is left under its name."""

    def __init__(self, path: Path, problem: str, hint: str) -> None:
        self.path, self.problem, self.hint = path, problem, hint
        super().__init__(sentences(f"Cannot write the bundle {path}: {problem}", hint))
