"""From prompts to embeddings: tokenizers and text encoders, as a family's rows say."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np

from sdopt.bundle.families import TextEncoding
from sdopt.runtime.clock import EngineClock
from sdopt.runtime.ports import Call, Engine, FloatArray, dtype_of
from sdopt.runtime.tokenizer import ClipTokenizer


class PromptCutWarning(UserWarning):
    """A prompt was longer than the text encoder reads; its end had no effect."""


class PromptEncoder:
    """Encodes one prompt at a time, so that a prompt's embeddings never depend on company.

    Attributes:
        clock: Time spent inside text encoder calls so far.
    """

    def __init__(
        self,
        encodings: tuple[TextEncoding, ...],
        tokenizers: Mapping[str, ClipTokenizer],
        encoders: Mapping[str, Engine],
    ) -> None:
        self._parts = [
            _BoundEncoder(tokenizers[e.tokenizer], encoders[e.component], e.output)
            for e in encodings
        ]
        self.clock = EngineClock()

    @property
    def shape(self) -> tuple[int, int]:
        """(length, dim) of what :meth:`encode` returns."""
        return self._parts[0].shape[0], sum(part.shape[1] for part in self._parts)

    def encode(self, prompt: str) -> FloatArray:
        """Encode a prompt.

        Returns:
            (length, dim) float32, a new array.

        Raises:
            InvalidValueError: The prompt is no Unicode text.
            EngineExecutionError: A text encoder failed.
        """
        return np.concatenate([part.encode(prompt, self.clock) for part in self._parts], axis=-1)


class _BoundEncoder:
    """One tokenizer and its text encoder, bound to buffers for one prompt."""

    def __init__(self, tokenizer: ClipTokenizer, encoder: Engine, output: str) -> None:
        self._tokenizer = tokenizer
        spec = next(spec for spec in encoder.outputs if spec.name == output)
        width = spec.shape[-1]
        if not isinstance(width, int):
            raise TypeError(f"{spec} has no fixed width")
        self._ids = np.zeros((1, tokenizer.max_length), dtype_of(encoder, "input_ids"))
        self._hidden = np.empty((1, tokenizer.max_length, width), spec.dtype)
        self._call: Call = encoder.bind({"input_ids": self._ids, output: self._hidden})

    @property
    def shape(self) -> tuple[int, int]:
        return self._hidden.shape[1], self._hidden.shape[2]

    def encode(self, prompt: str, clock: EngineClock) -> FloatArray:
        tokens = self._tokenizer(prompt)
        if tokens.cut[0]:
            warnings.warn(
                f"The prompt is longer than {self._tokenizer.max_length - 2} tokens. "
                f"These words had no effect: {tokens.cut[0]!r}",
                PromptCutWarning,
                stacklevel=2,
            )
        self._ids[:] = tokens.input_ids
        clock.run(self._call)
        return self._hidden[0].astype(np.float32)
