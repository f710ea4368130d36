"""Student's t distribution for whole degrees of freedom, without SciPy."""

from __future__ import annotations

import math


def quantile(probability: float, freedom: int) -> float:
    """Return t with P(-t < T < t) = probability, to about twelve digits.

    Args:
        probability: Above 0 and below 1.
        freedom: Degrees of freedom, 1 or more.
    """
    low, high = 0.0, 1.0
    while within(high, freedom) < probability:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle, freedom) < probability else (low, middle)
    return (low + high) / 2


def within(t: float, freedom: int) -> float:
    """Return P(-t < T < t): M. Abramowitz, I. Stegun: Handbook, 26.7.3 and 26.7.4."""
    theta = math.atan(t / math.sqrt(freedom))
    cosine, sine = math.cos(theta), math.sin(theta)
    if freedom == 1:
        return 2 * theta / math.pi
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = term
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    return 2 / math.pi * (theta + sine * total) if odd else sine * total
