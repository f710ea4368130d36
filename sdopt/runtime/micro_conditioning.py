"""What SDXL's UNets are told about a picture beside its prompt (arXiv:2307.01952, section 2.2)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from sdopt.errors import InvalidValueError
from sdopt.runtime.ports import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroConditioning:
    """What the UNet is told; each family's row says which of these it takes.

    Attributes:
        original_size: (height, width) in pixels that the picture had before it was resized.
        crops_coords_top_left: (top, left) in pixels of the crop that it is.
        target_size: (height, width) in pixels that it was resized to.
        aesthetic_score: How beautiful people find it, 0 to 10; dimensionless.
    """

    original_size: tuple[int, int]
    crops_coords_top_left: tuple[int, int]
    target_size: tuple[int, int]
    aesthetic_score: float

    def time_ids(self, names: Sequence[str]) -> FloatArray:
        """Return these fields' numbers, one after the other: (numbers,) float32."""
        return np.concatenate([np.ravel(getattr(self, name)) for name in names], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class MicroConditions:
    """What a UNet is told with the prompt, and with the negative prompt.

    Attributes:
        names: The fields that the family takes, in its order.
        positive: With the prompt.
        negative: With the negative prompt.
    """

    names: tuple[str, ...]
    positive: MicroConditioning
    negative: MicroConditioning

    def settings(self) -> dict[str, object]:
        """Return what the family takes as JSON data, under the names of the request's options."""
        sides = (("", self.positive), (_NEGATIVE, self.negative))
        return {p + name: _json(getattr(side, name)) for p, side in sides for name in self.names}


_NEGATIVE = "negative_"
_FIELDS = tuple(field.name for field in fields(MicroConditioning))
_SCORE, _NEGATIVE_SCORE = 6.0, 2.5
"""What diffusers takes where a request does not say."""


def option_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the options of a request that say these fields, for both prompts."""
    return (*names, *(_NEGATIVE + name for name in names))


def micro_conditions(
    options: Mapping[str, object], names: tuple[str, ...], size: tuple[int, int], *, guided: bool
) -> MicroConditions | None:
    """Read a request's options about sizes and scores.

    Args:
        options: Those of the request; None means not given.
        names: The fields that the family takes.
        size: Height and width of the picture, in pixels.
        guided: Whether the negative ones have an effect.

    Returns:
        None where the family takes none.

    Raises:
        InvalidValueError: One is no size or score, or would have no effect.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name in option_names(_FIELDS):
        if name in given:
            _refuse_without_effect(name, given[name], names, guided)
    if not names:
        return None
    defaults = {"original_size": size, "crops_coords_top_left": (0, 0), "target_size": size}
    positive = _read(given, "", {**defaults, "aesthetic_score": _SCORE})
    same = {name: getattr(positive, name) for name in _FIELDS}
    negative = _read(given, _NEGATIVE, {**same, "aesthetic_score": _NEGATIVE_SCORE})
    return MicroConditions(names, positive, negative)


def _read(
    given: Mapping[str, object], prefix: str, defaults: Mapping[str, object]
) -> MicroConditioning:
    values = {name: given.get(prefix + name, defaults[name]) for name in _FIELDS}
    checked = {name: _CHECKS[name](prefix + name, value) for name, value in values.items()}
    return MicroConditioning(**checked)  # type: ignore[arg-type]


def _refuse_without_effect(name: str, value: object, names: tuple[str, ...], guided: bool) -> None:
    if name.removeprefix(_NEGATIVE) not in names:
        takes = f"; it takes {', '.join(names)}" if names else ""
        raise InvalidValueError(
            name, value, f"not given with this model, whose UNet does not take it{takes}"
        )
    if name.startswith(_NEGATIVE) and not guided:
        hint = "Raise guidance_scale above 1, or leave it out"
        raise InvalidValueError(name, value, "not given without guidance", hint)


def _pair(name: str, value: object) -> tuple[int, int]:
    numbers = tuple(value) if isinstance(value, Sequence) else ()
    if len(numbers) != 2 or not all(type(n) is int and 0 <= n <= _LARGEST for n in numbers):
        raise InvalidValueError(name, value, f"two whole numbers of pixels from 0 to {_LARGEST}")
    return numbers[0], numbers[1]


def _score(name: str, value: object) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value):  # type: ignore[arg-type]
        raise InvalidValueError(name, value, "a finite number, usually 0 to 10")
    return float(value)  # type: ignore[arg-type]


_LARGEST = 65_536
_CHECKS = {name: _score if name == "aesthetic_score" else _pair for name in _FIELDS}


def _json(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
