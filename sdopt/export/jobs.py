"""What the exporting process tells its workers, as JSON. No torch here."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from sdopt.bundle.manifest import Precision


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
