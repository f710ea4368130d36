"""What a build process is told, as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sdopt.bundle import strict
from sdopt.engines.tensorrt.profiles import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildJob:
    """One component to build.

    Attributes:
        component: Its name, for messages.
        onnx: Path of its graph.
        plan: Path to write the plan to.
        precision: What the graph computes in.
        profiles: What to build for, in order.
        workspace_bytes: A limit for the builder; None for none.
        optimization_level: 0 to 5.
        refit: Let weights be exchanged later.
        strip: Leave the weights out.
        version_compatible: Let later versions run it.
        weight_streaming: Let weights stay on the host.
        timing_cache: Path of measured times, read and added to.
        reference: Path of the reference pairs to compare with; None for no self-test.
        tolerance: What the relative L2 to torch may be at most.
    """

    component: str
    onnx: str
    plan: str
    precision: str
    profiles: tuple[Profile, ...]
    workspace_bytes: int | None
    optimization_level: int
    refit: bool
    strip: bool
    version_compatible: bool
    weight_streaming: bool
    timing_cache: str
    reference: str | None
    tolerance: float

    def to_json(self) -> str:
        """Write on one line."""
        return json.dumps(strict.plain(self))

    @classmethod
    def from_json(cls, line: str) -> BuildJob:
        """Read what :meth:`to_json` wrote."""
        return strict.read(cls, json.loads(line), "build job")
