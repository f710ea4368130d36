"""What came of a build."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Report = Callable[[str, float], None]
"""Takes what is being done, and the share of all that is done, 0 to 1."""


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What one profile of an engine was found to compute.

    Attributes:
        profile: Its label.
        relative_l2: To torch's fp32 outputs; None where the bundle has none of this size, and the
            outputs were only seen to be finite.
    """

    profile: str
    relative_l2: float | None


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """An engine that lies in the store.

    Attributes:
        component: Its name.
        path: The engine's file.
        profiles: What it was built for, in words.
        was_built: Whether it was built now; False where a sound one lay there.
        tests: What it was found to compute when it was built now.
    """

    component: str
    path: Path
    profiles: str
    was_built: bool
    tests: tuple[SelfTest, ...]
