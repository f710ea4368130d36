"""Which training timesteps, and which sigmas, a run of N steps goes through. All lists fall."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from sdopt.runtime.schedulers.plan import FloatArray


def spaced_timesteps(spacing: str, train_steps: int, steps: int, offset: int) -> FloatArray:
    """Space N timesteps over the training range (Lin et al. 2024, table 2), unrounded for linspace.

    Returns:
        (steps,) timesteps, falling.
    """
    if spacing == "linspace":
        return np.linspace(0, train_steps - 1, steps)[::-1]
    if spacing == "leading":
        return _leading(train_steps // steps, steps, offset)
    return _trailing(train_steps, train_steps, steps)


def spaced_timesteps_before_zero(
    spacing: str, train_steps: int, last: int, steps: int, offset: int
) -> FloatArray:
    """Space N timesteps as the DPM-Solver family does: N + 1 points, without the lowest, rounded.

    Args:
        spacing: ``linspace``, ``leading`` or ``trailing``.
        train_steps: Number of training timesteps.
        last: Training timesteps below the highest allowed log signal-to-noise ratio.
        steps: N.
        offset: ``steps_offset``.

    Returns:
        Falling whole timesteps; N of them, but fewer where ``trailing`` meets a clipped range.
    """
    if spacing == "linspace":
        return np.linspace(0, last - 1, steps + 1).round()[::-1][:-1]
    if spacing == "leading":
        return _leading(last // (steps + 1), steps + 1, offset)[:-1]
    return _trailing(last, train_steps, steps)


def _leading(ratio: int, count: int, offset: int) -> FloatArray:
    return np.arange(count - 1, -1, -1.0) * ratio + offset


def _trailing(last: int, train_steps: int, steps: int) -> FloatArray:
    """Count down from the last timestep, exactly N points.

    ``arange`` rounds its way to N + 1 points for 62 of N = 1 to 1000 (61, 103, ...); the one too
    many is dropped. The rounding of the others is kept, so that timesteps equal diffusers'.
    """
    return np.arange(last, 0, -train_steps / steps).round()[:steps] - 1


def respaced_sigmas(kind: str, sigma_min: float, sigma_max: float, steps: int) -> FloatArray:
    """Space N sigmas from ``sigma_max`` down to ``sigma_min``.

    Args:
        kind: ``karras`` (Karras et al. 2022, equation 5, rho 7), ``exponential`` or ``lu`` (even in
            log sigma; Lu et al. 2022), ``beta`` (Lee et al. 2024, both shape parameters 0.6).
        sigma_min: Lowest sigma.
        sigma_max: Highest sigma.
        steps: N.

    Returns:
        (steps,) sigmas.
    """
    ramp = np.linspace(0, 1, steps)
    if kind == "karras":
        low, high = sigma_min ** (1 / 7), sigma_max ** (1 / 7)
        sigmas = (high + ramp * (low - high)) ** 7
    elif kind == "beta":
        sigmas = sigma_min + _beta_quantile(steps) * (sigma_max - sigma_min)
    else:
        sigmas = np.exp(np.linspace(math.log(sigma_max), math.log(sigma_min), steps))
    sigmas[-1], sigmas[0] = (
        sigma_min,
        sigma_max,
    )  # exactly, whatever the roots and logarithms round to
    return sigmas


def flow_sigmas(train_steps: int, steps: int, shift: float, from_1: bool) -> FloatArray:
    """Space N noise scales s of flow matching, x = (1 - s) x0 + s ε, and shift them towards noise.

    Args:
        train_steps: T, number of training timesteps.
        steps: N.
        shift: Factor of the odds s / (1 - s) (Esser et al. 2024, equation 23).
        from_1: From a millionth below 1 down to above 1 / T, else from 1 - 1 / T down to above 0.

    Returns:
        (steps,) scales, falling.
    """
    ramp = np.linspace(1, 1 / train_steps, steps + 1)
    sigmas = ramp[:-1] if from_1 else (1 - ramp)[:0:-1]
    sigmas = shift * sigmas / (1 + (shift - 1) * sigmas)
    sigmas[0] -= 1e-6 if from_1 else 0
    return sigmas


def timesteps_of(sigmas: FloatArray, table: FloatArray) -> FloatArray:
    """Find the timesteps of ``sigmas`` by interpolation of log sigma in the training ``table``."""
    return np.interp(np.log(sigmas), np.log(table), np.arange(len(table)))


@cache
def _beta_quantile(steps: int) -> FloatArray:
    """Quantiles of Beta(0.6, 0.6) at 1 - linspace(0, 1, N), (steps,), by symmetry around 1/2."""
    p = 1 - np.linspace(0, 1, steps)
    low = _lower_beta_quantile(np.minimum(p, 1 - p), shape=0.6)
    quantiles = np.where(p <= 0.5, low, 1 - low)
    quantiles.flags.writeable = False
    return quantiles


def _lower_beta_quantile(p: FloatArray, shape: float) -> FloatArray:
    """Solve I_x(a, a) = p for p up to 1/2 by Newton's method in u = x^a.

    There x is at most 1/2 and I_x = u / B(a, a) · Σ_n (1 - a)_n xⁿ / (n! (a + n)) converges fast
    (Abramowitz and Stegun 26.5.4 and 15.1.1). All terms are positive, so I is convex in u, the
    leading term alone starts above the root, and every Newton step stays above it.
    """
    a = shape
    beta = math.gamma(a) ** 2 / math.gamma(2 * a)
    n = np.arange(1, 60)
    series = np.concatenate([[1.0], np.cumprod((n - a) / n)]) / (a + np.arange(60))
    u = np.minimum(p * a * beta, 0.5**a)
    for _ in range(12):
        x = u ** (1 / a)
        value = u / beta * np.polynomial.polynomial.polyval(x, series)
        slope = (1 - x) ** (a - 1) / (a * beta)
        u = u - (value - p) / slope
    return u ** (1 / a)
