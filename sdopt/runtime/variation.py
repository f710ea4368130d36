"""Variations of a picture: start noise between that of two seeds, as in the web UI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from sdopt.errors import InvalidValueError
from sdopt.runtime.noise import NoiseStream
from sdopt.runtime.ports import FloatArray
from sdopt.runtime.request_checks import choose_seed
from sdopt.runtime.schedulers.numbers import check_number, real


class VariationOptions(TypedDict, total=False):
    """What can be said of variations of a picture.

    Attributes:
        subseed: 0 to 2**32-1; picture i of a request is ``seed``'s, on its way to that of
            ``subseed + i``. With ``subseed_strength``. Default: drawn.
        subseed_strength: How far on its way, 0 to 1. Default 0.
    """

    subseed: int | None
    subseed_strength: float


@dataclass(frozen=True, slots=True)
class Variation:
    """How the pictures of a request vary one picture.

    Attributes:
        subseed: Of the first picture; that of picture i is ``subseed + i``.
        strength: 0 to 1: how far the start noise is from the seed's to the subseed's.
    """

    subseed: int
    strength: float

    def noise(self, seed: int, index: int) -> NoiseStream:
        """Return the stream of picture ``index``."""
        return VariedNoise(seed, self.subseed + index, self.strength)

    def settings(self, index: int) -> dict[str, object]:
        """Return what makes picture ``index`` again alone, as JSON data."""
        return {"subseed": self.subseed + index, "subseed_strength": self.strength}


class VariedNoise(NoiseStream):
    """A seed's stream whose start noise alone is on its way to another seed's."""

    def __init__(self, seed: int, subseed: int, strength: float) -> None:
        super().__init__(seed)
        self._other, self._strength = NoiseStream(subseed), strength

    def start(self, shape: Sequence[int]) -> FloatArray:
        """Draw start noise, (1, channels, height/8, width/8) float32."""
        return slerp(self._strength, self.normal(shape), self._other.normal(shape))


def slerp(share: float, one: FloatArray, other: FloatArray) -> FloatArray:
    """Go a share of the way along the great circle from one noise to another (Shoemake 1985).

    As the web UI does it: each column of each channel is a vector of its own.

    Args:
        share: 0 for the one, 1 for the other.
        one: (1, channels, height, width) float32.
        other: Of the same shape.
    """
    lengths = [np.linalg.norm(noise, axis=2, keepdims=True) for noise in (one, other)]
    cosine = (one * other).sum(axis=2, keepdims=True) / (lengths[0] * lengths[1])
    angle = np.arccos(np.clip(cosine, -1, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (np.sin((1 - share) * angle) * one + np.sin(share * angle) * other) / np.sin(
            angle
        )
    parallel = np.sin(angle) < 1e-4  # where both are the same, either is right
    return np.where(parallel, one, between).astype(np.float32)


def choose_variation(options: Mapping[str, Any], num_images: int) -> Variation | None:
    """Read a request's options about variations; None where it asks for none.

    Raises:
        InvalidValueError: A value is not allowed, or would have no effect.
    """
    strength, subseed = options.get("subseed_strength", 0.0), options.get("subseed")
    check_number("subseed_strength", strength, 0 <= real(strength) <= 1, "a number from 0 to 1")
    if strength == 0:
        if subseed is not None:
            raise InvalidValueError("subseed", subseed, "not given where subseed_strength is not")
        return None
    return Variation(choose_seed(subseed, num_images, name="subseed"), float(strength))
