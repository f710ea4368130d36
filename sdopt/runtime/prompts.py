"""From prompts to embeddings: tokenizers and text encoders, as a family's rows say."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sdopt.bundle.families import LongPrompts, TextEncoding
from sdopt.runtime.chunks import Chunk, Chunker
from sdopt.runtime.clock import EngineClock
from sdopt.runtime.ports import Call, Engine, FloatArray, dtype_of
from sdopt.runtime.prompt_embeds import Prompt, PromptEmbeds
from sdopt.runtime.prompt_syntax import parse_prompt
from sdopt.runtime.tokenizer import ClipTokenizer
from sdopt.runtime.weighting import weigh

_KEPT_PROMPTS = 64


class PromptCutWarning(UserWarning):
    """A prompt was longer than a family reads that cannot chunk; its end had no effect."""


class PromptEncoder:
    """Encodes one chunk of one prompt at a time, so that embeddings never depend on company.

    The prompts encoded last are kept, so that a repeated one costs nothing.

    Attributes:
        clock: Time spent inside text encoder calls so far.
    """

    def __init__(
        self,
        encodings: tuple[TextEncoding, ...],
        tokenizers: Mapping[str, ClipTokenizer],
        encoders: Mapping[str, Engine],
        *,
        long_prompts: LongPrompts = "chunk",
        kept_prompts: int = _KEPT_PROMPTS,
    ) -> None:
        self._parts = [
            _BoundEncoder(
                Chunker(tokenizers[e.tokenizer], long_prompts), encoders[e.component], e.output
            )
            for e in encodings
        ]
        self._kept_prompts = kept_prompts
        self._encoded: OrderedDict[str, _Encoded] = OrderedDict()
        self.clock = EngineClock()

    @property
    def shape(self) -> tuple[int, int]:
        """(length, dim) of the embeddings of one chunk."""
        return self._parts[0].shape[0], sum(part.shape[1] for part in self._parts)

    def encode(self, prompt: Prompt) -> FloatArray:
        """Encode a prompt.

        Returns:
            (length × chunks, dim) float32, read-only.

        Raises:
            InvalidValueError: The prompt is no Unicode text, or its weights are of no use.
            EngineExecutionError: A text encoder failed.
        """
        if isinstance(prompt, PromptEmbeds):
            return prompt.values
        encoded = self._encoded.pop(prompt, None) or self._encode(prompt)
        self._encoded[prompt] = encoded
        while len(self._encoded) > self._kept_prompts:
            self._encoded.popitem(last=False)
        if encoded.cut:
            _warn_of_cut(self._parts[0].shape[0] - 2, encoded.cut)
        return encoded.embeds

    def encode_pair(self, prompt: Prompt, negative_prompt: Prompt) -> tuple[FloatArray, FloatArray]:
        """Encode a prompt and its negative, the shorter one followed by empty chunks.

        This is what the web UI does with "Pad prompt/negative prompt to be same length".

        Returns:
            Two arrays of one shape, (length × chunks, dim) float32, read-only.
        """
        first, second = self.encode(prompt), self.encode(negative_prompt)
        length = max(len(first), len(second))
        return self._padded(first, length), self._padded(second, length)

    def _padded(self, embeds: FloatArray, length: int) -> FloatArray:
        missing = (length - len(embeds)) // self.shape[0]
        return np.concatenate([embeds, *[self.encode("")] * missing]) if missing else embeds

    def _encode(self, prompt: str) -> _Encoded:
        segments = parse_prompt(prompt)
        prompts = [part.chunker(segments) for part in self._parts]
        count = max(len(chunked.chunks) for chunked in prompts)
        columns = [
            part.encode(chunked.chunks, count, self.clock)
            for part, chunked in zip(self._parts, prompts, strict=True)
        ]
        embeds = np.concatenate(columns, axis=-1)
        embeds.flags.writeable = False
        return _Encoded(embeds, max((chunked.cut for chunked in prompts), key=len))


class _Encoded(NamedTuple):
    embeds: FloatArray
    cut: str


class _BoundEncoder:
    """One tokenizer and its text encoder, bound to buffers for one chunk."""

    def __init__(self, chunker: Chunker, encoder: Engine, output: str) -> None:
        self.chunker = chunker
        spec = next(spec for spec in encoder.outputs if spec.name == output)
        width = spec.shape[-1]
        if not isinstance(width, int):
            raise TypeError(f"{spec} has no fixed width")
        length = chunker.chunk_length
        self._ids = np.zeros((1, length), dtype_of(encoder, "input_ids"))
        self._hidden = np.empty((1, length, width), spec.dtype)
        self._call: Call = encoder.bind({"input_ids": self._ids, output: self._hidden})

    @property
    def shape(self) -> tuple[int, int]:
        return self._hidden.shape[1], self._hidden.shape[2]

    def encode(self, chunks: Sequence[Chunk], count: int, clock: EngineClock) -> FloatArray:
        """Encode chunks, and empty ones behind them up to ``count``."""
        empty = [self.chunker.empty] * (count - len(chunks))
        return np.concatenate([self._encode(chunk, clock) for chunk in (*chunks, *empty)])

    def _encode(self, chunk: Chunk, clock: EngineClock) -> FloatArray:
        self._ids[:] = chunk.input_ids
        clock.run(self._call)
        hidden = self._hidden[0].astype(np.float32)
        return weigh(hidden, chunk.weights) if chunk.is_weighted else hidden


def _warn_of_cut(tokens: int, cut: str) -> None:
    warnings.warn(
        f"The prompt is longer than {tokens} tokens. These words had no effect: {cut!r}",
        PromptCutWarning,
        stacklevel=3,
    )
