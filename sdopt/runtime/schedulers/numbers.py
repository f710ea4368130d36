"""Checks of numbers that a request gives."""

from __future__ import annotations

import math

from sdopt.errors import InvalidValueError


def real(value: object) -> float:
    """Return a number as a float, and anything else as NaN, which no range contains."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def is_whole(value: object) -> bool:
    """Say whether a value is a whole number; ``True`` and ``4.0`` are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_number(name: str, value: object, fits: bool, allowed: str) -> None:
    """Refuse a value that does not fit.

    Raises:
        InvalidValueError: It does not.
    """
    if not fits:
        raise InvalidValueError(name, value, allowed)
