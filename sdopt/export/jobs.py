"""What the exporting process and its workers tell each other, as JSON. No torch here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sdopt import errors
from sdopt.bundle.manifest import Precision
from sdopt.errors import ExportError


@dataclass(frozen=True, slots=True)
class Job:
    """What one worker process does.

    Attributes:
        checkpoint: A diffusers folder or a single file.
        variant: Of its weight files, or None.
        components: Names of rows of :data:`sdopt.export.components.COMPONENTS`, in order.
        precision: What the graphs compute in.
        opset: Of the graphs.
        out: The bundle's temporary folder.
        scratch: A folder for arrays that are not part of the bundle.
        prediction_type: What the UNet predicts, for single files that do not say.
        without_islands: Names of islands that are left out.
    """

    checkpoint: Path
    variant: str | None
    components: tuple[str, ...]
    precision: Precision
    opset: int
    out: Path
    scratch: Path
    prediction_type: str | None = None
    without_islands: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Write on one line."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, line: str) -> Job:
        """Read what :meth:`to_json` wrote."""
        data = json.loads(line)
        data |= {name: Path(data[name]) for name in ("checkpoint", "out", "scratch")}
        data |= {name: tuple(data[name]) for name in ("components", "without_islands")}
        return cls(**data)


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
    return {"kind": type(error).__name__, "fields": fields}


def rebuilt(description: Mapping[str, Any]) -> Exception:
    """Make the error that :func:`failure` described."""
    if description["kind"] == "OSError":
        return OSError(description["errno"], description["text"], description["file"])
    kind = getattr(errors, description["kind"], ExportError)
    fields = {k: Path(v) if k == "path" else v for k, v in description["fields"].items()}
    return kind(**fields)


def _plain(value: object) -> object:
    return (
        list(value)
        if isinstance(value, tuple)
        else str(value)
        if isinstance(value, Path)
        else value
    )
