"""Where the latents of a loop's rows lie, and what computes with them: the host, or a device."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sdopt.runtime.layout import Layout
from sdopt.runtime.ports import FloatArray, Reading
from sdopt.runtime.row import Row


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step made of its rows. Looking at it waits for the step.

    Attributes:
        sums: float32, the sum of each row's latents.
        places: Where each row's is in ``sums``.
        previews: Predicted finished latents, (channels, height/8, width/8) float32, of the rows
            for which they were asked.
    """

    sums: Reading
    places: Mapping[Row, int]
    previews: Mapping[Row, Reading]

    def wait(self) -> None:
        """Wait for the step.

        Raises:
            EngineExecutionError: It failed.
        """
        self.sums.array()

    def is_finite(self, row: Row) -> bool:
        """Say whether no latent of a row is NaN or infinite."""
        return math.isfinite(float(self.sums.array()[self.places[row]]))


class Arithmetic(Protocol):
    """Holds the latents of rows and does what their plans say.

    What it does for one row depends on that row alone, whatever others it does it for.
    """

    @property
    def lag(self) -> int:
        """How many steps may be under way whose outcome nobody has looked at; 0 on the host."""
        ...

    def admit(self, row: Row) -> None:
        """Draw what a row begins with, and give it a place."""
        ...

    def release(self, row: Row) -> None:
        """Take a row's place away."""
        ...

    def arrange(self, layout: Layout) -> None:
        """Lay out the UNet's batch for the rows that step from now on; they have places."""
        ...

    def step(self, previews: Sequence[Row]) -> Outcome:
        """Advance the rows of the layout by one evaluation, each from its ``stage``.

        Raises:
            EngineExecutionError: The UNet failed; no row has advanced.
        """
        ...

    def latents(self, row: Row) -> Reading:
        """Read a row's latents as they are, (channels, height/8, width/8) float32."""
        ...


@dataclass(frozen=True, slots=True)
class There:
    """A reading of what is on the host already."""

    _values: FloatArray

    def array(self) -> FloatArray:
        """Return it."""
        return self._values
