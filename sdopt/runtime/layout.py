"""Which UNet row belongs to whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sdopt.runtime.row import Row


@dataclass(frozen=True, slots=True)
class Layout:
    """The UNet's batch: the conditional rows first, then the unconditional ones of guided rows.

    Attributes:
        rows: Those that step, in the order of their conditional UNet rows.
        partners: The unconditional UNet row of each; None for a row without guidance.
    """

    rows: tuple[Row, ...]
    partners: tuple[int | None, ...]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Layout:
        """Give every guided row its partner, in order."""
        places = iter(range(len(rows), 2 * len(rows)))
        return cls(tuple(rows), tuple(next(places) if row.guided else None for row in rows))

    @property
    def batch(self) -> int:
        """How many UNet rows there are."""
        return len(self.rows) + sum(partner is not None for partner in self.partners)

    def __iter__(self) -> Iterator[tuple[int, Row, int | None]]:
        """Give each row with its conditional and its unconditional UNet row."""
        for index, (row, partner) in enumerate(zip(self.rows, self.partners, strict=True)):
            yield index, row, partner
