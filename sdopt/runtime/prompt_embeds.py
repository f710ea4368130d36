"""Encoded prompts that a caller gives in place of text."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from sdopt.errors import InvalidValueError
from sdopt.runtime.ports import FloatArray


@dataclass(frozen=True, slots=True)
class PromptEmbeds:
    """An encoded prompt. Two are equal where their values are.

    Attributes:
        values: (length, dim) float32, read-only.
        shape: (length, dim).
        sha256: Of the values' bytes.
    """

    values: FloatArray = field(repr=False, compare=False)
    shape: tuple[int, int]
    sha256: str


Prompt = str | PromptEmbeds
"""What is encoded, or what needs no encoding any more."""


def prompt_as_json(name: str, prompt: Prompt) -> dict[str, object]:
    """Return a prompt as JSON data; of embeddings, what identifies them."""
    if isinstance(prompt, str):
        return {name: prompt}
    return {
        name: None,
        f"{name}_embeds": {"shape": list(prompt.shape), "sha256": prompt.sha256},
    }


@dataclass(frozen=True, slots=True)
class EmbedsRule:
    """Which encoded prompts a bundle's UNet takes.

    Attributes:
        chunk_length: Their length is a multiple of it.
        dim: Values per token.
    """

    chunk_length: int = 77
    dim: int = 768

    def check(self, name: str, value: object) -> PromptEmbeds:
        """Return a private copy of an encoded prompt, if it is one.

        Args:
            name: Of the request's field, for messages.
            value: (length, dim) or (1, length, dim) float32.

        Raises:
            InvalidValueError: It is no float32 array of such a shape, or not finite everywhere.
        """
        if not isinstance(value, np.ndarray) or value.dtype != np.float32:
            given = value.dtype.name if isinstance(value, np.ndarray) else type(value).__name__
            raise InvalidValueError(name, _Bare(given), "a float32 NumPy array", _CONVERT)
        array = value[0] if value.ndim == 3 and len(value) == 1 else value
        if not self._fits(array.shape):
            allowed = (
                f"(length, {self.dim}) or (1, length, {self.dim}), "
                f"where length is a multiple of {self.chunk_length}"
            )
            raise InvalidValueError(f"{name}.shape", value.shape, allowed)
        if not np.isfinite(array).all():
            raise InvalidValueError(name, _Bare("array with NaN or infinity"), "finite everywhere")
        return _frozen(array)

    def _fits(self, shape: tuple[int, ...]) -> bool:
        return (
            len(shape) == 2
            and shape[0] > 0
            and shape[0] % self.chunk_length == 0
            and shape[1] == self.dim
        )


_CONVERT = "Convert it with numpy.asarray(..., dtype=numpy.float32)"


class _Bare(str):
    """Shows itself in messages without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{self}>"


def _frozen(array: FloatArray) -> PromptEmbeds:
    values = np.array(array, np.float32, order="C")
    values.flags.writeable = False
    length, dim = values.shape
    return PromptEmbeds(values, (length, dim), hashlib.sha256(values.tobytes()).hexdigest())
