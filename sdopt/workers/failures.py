"""An error of a worker process as JSON, and the same error again in the process that waits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdopt import errors


def failure(error: Exception) -> dict[str, Any]:
    """Describe an error so that :func:`rebuilt` can raise the same one in another process."""
    if isinstance(error, OSError) and not isinstance(error, errors.SdoptError):
        return {
            "kind": "OSError",
            "errno": error.errno,
            "text": error.strerror or str(error),
            "file": str(error.filename or ""),
        }
    fields = {name: _plain(value) for name, value in vars(error).items()}
    return {"kind": type(error).__name__, "text": str(error), "fields": fields}


def rebuilt(description: Mapping[str, Any]) -> Exception:
    """Make the error that :func:`failure` described."""
    if description["kind"] == "OSError":
        return OSError(description["errno"], description["text"], description["file"])
    kind: type[errors.SdoptError] = getattr(errors, description["kind"], errors.SdoptError)
    error = kind.__new__(kind)
    error.args = (description["text"],)
    fields = description["fields"]
    vars(error).update({k: Path(v) if k == "path" else v for k, v in fields.items()})
    return error


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value
