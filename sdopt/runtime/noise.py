"""The noise that torch draws on the CPU for a seed, without torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sdopt.errors import InvalidValueError

_BLOCK = 16
_MAX_SEED = 2**32 - 1


class NoiseStream:
    """Standard normal float32 numbers, draw after draw as torch gives them.

    ``NoiseStream(seed).normal(shape)`` equals ``torch.randn(shape, generator=g)`` with
    ``g = torch.Generator("cpu").manual_seed(seed)`` to float32 rounding (5e-7), and so does every
    later draw: the stream goes on where the last draw left it.

    Args:
        seed: A whole number from 0 to 2**32 - 1.

    Raises:
        InvalidValueError: The seed is not one.
    """

    def __init__(self, seed: int) -> None:
        if (
            isinstance(seed, bool)
            or not isinstance(seed, int | np.integer)
            or not 0 <= seed <= _MAX_SEED
        ):
            raise InvalidValueError("seed", seed, f"a whole number from 0 to {_MAX_SEED}")
        # RandomState seeds the Mersenne Twister MT19937 with one number in the way torch does.
        self._twister = np.random.RandomState(int(seed))

    def normal(self, shape: Sequence[int]) -> NDArray[np.float32]:
        """Draw a new array of this shape, float32.

        Raises:
            InvalidValueError: The shape holds fewer than 16 numbers.
        """
        count = math.prod(shape)
        if count < _BLOCK:
            # torch draws fewer than 16 with another algorithm, and the smallest picture has 64.
            raise InvalidValueError("noise shape", tuple(shape), f"one of {_BLOCK} numbers or more")
        whole = count - count % _BLOCK
        values = np.empty(count, np.float32)
        values[:whole] = _box_muller(self._uniform(whole))
        if whole < count:
            # The words of the incomplete block are drawn and wasted, then the last 16 drawn anew.
            self._uniform(count - whole)
            values[-_BLOCK:] = _box_muller(self._uniform(_BLOCK))
        return values.reshape(shape)

    def fill(self, out: NDArray[np.float32]) -> None:
        """Draw into ``out``: the numbers that ``normal(out.shape)`` would return."""
        out[...] = self.normal(out.shape)

    def start(self, shape: Sequence[int]) -> NDArray[np.float32]:
        """Draw what a picture starts from."""
        return self.normal(shape)

    def _uniform(self, count: int) -> NDArray[np.float32]:
        """Draw from [0, 1) in steps of 2**-24, the low bits of one word each."""
        words = self._twister.randint(0, 2**32, size=count, dtype=np.uint32)
        return (words & np.uint32(0xFFFFFF)).astype(np.float32) * np.float32(2.0**-24)


def _box_muller(uniform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn blocks of 16 uniform numbers into normal ones (Box and Muller 1958).

    The first 8 of a block give radii, the others angles. The angles are rounded to float32 as
    torch rounds them: at a radius of 5 that alone is 1e-6.
    """
    pairs = uniform.reshape(-1, 2, _BLOCK // 2)
    radius = np.sqrt(-2 * np.log(1 - pairs[:, 0]))
    angle = np.float32(2 * np.pi) * pairs[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
