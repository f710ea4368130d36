"""The bundles that ship inside the package, by name."""

from __future__ import annotations

from pathlib import Path

from sdopt.bundle.manifest import FILE_NAME
from sdopt.errors import BundleNotFoundError

_FOLDER = Path(__file__).resolve().parent.parent / "carried"


def carried_names() -> tuple[str, ...]:
    """Return the names of the carried models, such as ``("shapes",)``."""
    return tuple(sorted(path.parent.name for path in _FOLDER.glob(f"*/{FILE_NAME}")))


def locate(bundle: str | Path) -> Path:
    """Return the folder of a bundle that is given as a path or as the name of a carried model.

    A folder of that name in the working directory comes before the carried model.

    Raises:
        BundleNotFoundError: Neither is there.
    """
    for folder in (Path(bundle), _FOLDER / str(bundle) if str(bundle) in carried_names() else None):
        if folder is not None and (folder / FILE_NAME).is_file():
            return folder
    raise BundleNotFoundError(str(bundle), carried_names())
