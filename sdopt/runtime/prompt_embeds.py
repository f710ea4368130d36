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
        sha256: Of the bytes of the values, and of those of ``pooled``.
        pooled: (pooled dim,) float32, read-only, where the family uses it.
    """

    values: FloatArray = field(repr=False, compare=False)
    shape: tuple[int, int]
    sha256: str
    pooled: FloatArray | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class ZeroPrompt:
    """No prompt: embeddings of zeros, as ``force_zeros_for_empty_prompt`` asks for."""

    def __bool__(self) -> bool:
        return False


Prompt = str | PromptEmbeds | ZeroPrompt
"""What is encoded, or what needs no encoding any more."""


def prompt_as_json(name: str, prompt: Prompt) -> dict[str, object]:
    """Return a prompt as JSON data; of embeddings, what identifies them."""
    if not isinstance(prompt, PromptEmbeds):
        return {name: prompt if isinstance(prompt, str) else None}
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
        pooled_dim: Values of ``pooled_prompt_embeds``; 0 where the UNet takes none.
    """

    chunk_length: int = 77
    dim: int = 768
    pooled_dim: int = 0

    def check(self, name: str, value: object, pooled: object = None) -> PromptEmbeds:
        """Return a private copy of an encoded prompt, if it is one.

        Args:
            name: Of the request's field, for messages.
            value: (length, dim) or (1, length, dim) float32.
            pooled: (pooled dim,) or (1, pooled dim) float32, exactly where the UNet takes it.

        Raises:
            InvalidValueError: One is no float32 array of such a shape, not finite everywhere, or
                missing, or given without effect.
        """
        array = _floats(name, value, ndim=2)
        if not self._fits(array.shape):
            allowed = (
                f"(length, {self.dim}) or (1, length, {self.dim}), "
                f"where length is a multiple of {self.chunk_length}"
            )
            raise InvalidValueError(f"{name}.shape", np.shape(array), allowed)
        return _frozen(array, self._pooled(_pooled_name(name), pooled))

    def refuse_pooled(self, name: str, pooled: object) -> None:
        """Refuse a pooled prompt that is given without the embeddings that it belongs to.

        Raises:
            InvalidValueError: It is.
        """
        if pooled is not None:
            raise InvalidValueError(
                _pooled_name(name), _Bare("array"), f"not given where {name} is not"
            )

    def _pooled(self, name: str, value: object) -> FloatArray | None:
        if value is None and not self.pooled_dim:
            return None
        if not self.pooled_dim:
            raise InvalidValueError(
                name, _Bare("array"), "not given with this model, whose UNet does not take it"
            )
        if value is None:
            embeds = name.replace("pooled_", "")
            raise InvalidValueError(name, None, f"required where {embeds} is given")
        array = _floats(name, value, ndim=1)
        if array.shape != (self.pooled_dim,):
            allowed = f"({self.pooled_dim},) or (1, {self.pooled_dim})"
            raise InvalidValueError(f"{name}.shape", array.shape, allowed)
        return array

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


def _pooled_name(name: str) -> str:
    return name.replace("prompt_embeds", "pooled_prompt_embeds")


def _floats(name: str, value: object, ndim: int) -> FloatArray:
    """Return a float32 array, without its first dimension where that is 1 and one too many."""
    if not isinstance(value, np.ndarray) or value.dtype != np.float32:
        given = value.dtype.name if isinstance(value, np.ndarray) else type(value).__name__
        raise InvalidValueError(name, _Bare(given), "a float32 NumPy array", _CONVERT)
    if not np.isfinite(value).all():
        raise InvalidValueError(name, _Bare("array with NaN or infinity"), "finite everywhere")
    return value[0] if value.ndim == ndim + 1 and len(value) == 1 else value


def _frozen(array: FloatArray, pooled: FloatArray | None) -> PromptEmbeds:
    values, summary = _copied(array), None if pooled is None else _copied(pooled)
    content = values.tobytes() + (b"" if summary is None else summary.tobytes())
    length, dim = values.shape
    return PromptEmbeds(values, (length, dim), hashlib.sha256(content).hexdigest(), summary)


def _copied(array: FloatArray) -> FloatArray:
    values = np.array(array, np.float32, order="C")
    values.flags.writeable = False
    return values
