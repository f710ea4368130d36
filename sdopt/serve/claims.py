"""Bundles that can be loaded, and who uses them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from sdopt.bundle.bundle import Bundle
from sdopt.engines.size_bucket import SizeBucket
from sdopt.pipeline import Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A bundle that can be loaded.

    Attributes:
        bundle: Opened and checked.
        needed_bytes: What its pipeline takes, as estimated.
        load: Makes the pipeline; takes seconds.
        fixed_size: Of all its pictures; None for any.
    """

    bundle: Bundle
    needed_bytes: int
    load: Callable[[], Pipeline]
    fixed_size: SizeBucket | None = None


@dataclass(slots=True, eq=False)
class Claim:
    """Somebody's use of a bundle: its pipeline comes with the future, and stays until it is left.

    Attributes:
        name: Of the bundle.
        pipeline: Set as soon as it is loaded.
    """

    name: str
    pipeline: Future[Pipeline] = field(default_factory=Future)
    since_s: float = field(default_factory=time.monotonic)
    granted: bool = False


class Switches(Protocol):
    """Who hears of bundles that come and go; called on the shelf's own thread."""

    def loaded(self, name: str, pipeline: Pipeline, seconds: float) -> None:
        """A bundle was loaded, which took so long."""

    def leaving(self, name: str) -> None:
        """Nobody uses a bundle, and it leaves: whatever is kept for it must be let go of."""
