"""What a backend says of itself when the fastest one is looked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Offer:
    """A backend that could run on a device.

    Attributes:
        engine: Its name in the catalog.
        rank: The smaller, the faster it was measured to be; dimensionless.
        why: What decides its rank, in words.
    """

    engine: str
    rank: int
    why: str
