"""Checks that turn a value of scheduler_config.json into a typed one, or refuse it by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

from sdopt.errors import UnsupportedSchedulerConfigError

Check = Callable[[str, object], object]


class Setting(NamedTuple):
    """One setting of one class: its default, and the check of what a file gives."""

    default: object
    check: Check


def flag(key: str, value: object) -> bool:
    """Accept true and false, and null for false."""
    if value is not None and not isinstance(value, bool):
        raise UnsupportedSchedulerConfigError(key, value, "true or false")
    return bool(value)


def beta(key: str, value: object) -> float:
    """Accept a number between 0 and 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise UnsupportedSchedulerConfigError(key, value, "a number between 0 and 1")
    return float(value)


def betas(key: str, value: object) -> tuple[float, ...] | None:
    """Accept a list of them, or null."""
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not value:
        raise UnsupportedSchedulerConfigError(key, value, "null or a list of numbers")
    return tuple(beta(key, item) for item in cast("Sequence[object]", value))


def positive(key: str, value: object) -> float:
    """Accept a number above 0 and up to a million."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1e6:
        raise UnsupportedSchedulerConfigError(key, value, "a number above 0 and up to 1000000")
    return float(value)


def optional_positive(key: str, value: object) -> float | None:
    """Accept the same, or null."""
    return None if value is None else positive(key, value)


def lambda_min(key: str, value: object) -> float:
    """Accept a lower bound of ln(alpha / sigma), which null and "-inf" leave open."""
    if value in (None, "-inf", "-Infinity", -math.inf):
        return -math.inf
    if isinstance(value, bool) or not isinstance(value, int | float) or not -50 <= value <= 50:
        raise UnsupportedSchedulerConfigError(key, value, "null or a number from -50 to 50")
    return float(value)


def whole(low: int, high: int) -> Check:
    """Accept whole numbers from ``low`` to ``high``."""

    def check(key: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise UnsupportedSchedulerConfigError(
                key, value, f"a whole number from {low} to {high}"
            )
        return value

    return check


def one_of(*choices: str, also: Mapping[str, str] | None = None) -> Check:
    """Accept ``choices``, and the foreign names in ``also`` as diffusers replaces them."""
    foreign = also or {}

    def check(key: str, value: object) -> str:
        if isinstance(value, str) and (value in choices or value in foreign):
            return foreign.get(value, value)
        raise UnsupportedSchedulerConfigError(key, value, "one of " + ", ".join(choices))

    return check


def only(allowed: object, hint: str) -> Check:
    """Accept one value, and null for it."""

    def check(key: str, value: object) -> object:
        if value is not None and value != allowed:
            raise UnsupportedSchedulerConfigError(
                key, value, f"only supported as {allowed!r}", hint
            )
        return allowed

    return check


def always(value: object) -> Check:
    """Ignore what a file says: the class has no such setting and behaves like ``value``."""
    return lambda _key, _value: value


def whole_numbers(key: str, value: object) -> tuple[int, ...]:
    """Accept a list of whole numbers."""
    if not isinstance(value, list | tuple):
        raise UnsupportedSchedulerConfigError(key, value, "a list of whole numbers")
    step = whole(0, 1000)
    return tuple(cast("int", step(key, item)) for item in cast("Sequence[object]", value))


def fixed_variance(key: str, value: object) -> str:
    """Accept anything but a variance that the model predicts; it has no effect."""
    if value in ("learned", "learned_range"):
        raise UnsupportedSchedulerConfigError(
            key, value, "a fixed variance", "Models that also predict a variance are not supported"
        )
    return ""
