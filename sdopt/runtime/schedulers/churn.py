"""Churn: fresh noise that Euler's method adds before a step and takes away again in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sdopt.runtime.schedulers.numbers import check_number, real


@dataclass(frozen=True, kw_only=True)
class Churn:
    """How much noise is added, and where (Karras et al. 2022, algorithm 2). Dimensionless.

    Attributes:
        s_churn: Noise of the whole run, above 0. Each step raises its sigma by the share
            ``min(s_churn / N, √2 - 1)``.
        s_tmin: Lowest sigma at which noise is added, at least 0.
        s_tmax: Highest sigma at which noise is added; infinite for no limit.
        s_noise: Standard deviation of the noise, at least 0; 1 is what the theory says.

    Raises:
        InvalidValueError: A value is outside what is allowed.
    """

    s_churn: float
    s_tmin: float = 0.0
    s_tmax: float = math.inf
    s_noise: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values outside what is allowed."""
        check_number("s_churn", self.s_churn, 0 < real(self.s_churn) < math.inf, _ABOVE_0)
        check_number("s_tmin", self.s_tmin, 0 <= real(self.s_tmin) < math.inf, _AT_LEAST_0)
        limit = f"a number of at least s_tmin={self.s_tmin}"
        check_number("s_tmax", self.s_tmax, real(self.s_tmax) >= self.s_tmin, limit)
        check_number("s_noise", self.s_noise, 0 <= real(self.s_noise) < math.inf, _AT_LEAST_0)

    def share(self, sigma: float, steps: int) -> float:
        """Return γ, the share by which a step of a run of ``steps`` raises ``sigma``."""
        if not self.s_tmin <= sigma <= self.s_tmax:
            return 0.0
        return min(self.s_churn / steps, math.sqrt(2) - 1)


_ABOVE_0 = "a finite number above 0"
_AT_LEAST_0 = "a finite number of at least 0"
