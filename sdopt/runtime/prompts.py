"""From prompts to embeddings: tokenizers and text encoders, as a family's rows say."""

from __future__ import annotations

import warnings
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sdopt.bundle.families import LongPrompts, TextEncoding
from sdopt.errors import InvalidValueError
from sdopt.runtime.clock import EngineClock
from sdopt.runtime.concept_file import Concept
from sdopt.runtime.ports import Engine, FloatArray
from sdopt.runtime.prompt_embeds import Prompt, PromptEmbeds, ZeroPrompt
from sdopt.runtime.prompt_syntax import parse_prompt
from sdopt.runtime.text_encoder import TextEncoder
from sdopt.runtime.tokenizer import ClipTokenizer

_KEPT_PROMPTS = 64


class PromptCutWarning(UserWarning):
    """A prompt was longer than a family reads that cannot chunk; its end had no effect."""


class PromptEncoder:
    """Encodes one chunk of one prompt at a time, so that embeddings never depend on company.

    The prompts encoded last are kept, so that a repeated one costs nothing.

    Attributes:
        clock: Time spent inside text encoder calls so far.
        concepts: What prompts can name beside the vocabulary; see :meth:`use`.
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
        self._encoders = [
            TextEncoder(e, tokenizers[e.tokenizer], encoders[e.component], long_prompts)
            for e in encodings
        ]
        self._kept_prompts = kept_prompts
        self._encoded: OrderedDict[tuple[str, int], _Encoded] = OrderedDict()
        self.concepts: tuple[Concept, ...] = ()
        self.clock = EngineClock()

    @property
    def shape(self) -> tuple[int, int]:
        """(length, dim) of the embeddings of one chunk."""
        return self._encoders[0].chunk_length, sum(encoder.width for encoder in self._encoders)

    @property
    def pooled_dim(self) -> int:
        """Values that sum up a whole prompt; 0 where the family uses none."""
        return sum(encoder.pooled_width for encoder in self._encoders)

    @property
    def max_clip_skip(self) -> int:
        """How many of the text encoders' last layers can be left out."""
        return min(encoder.max_clip_skip for encoder in self._encoders)

    def use(self, concepts: Sequence[Concept]) -> None:
        """Know these concepts from now on, and no others.

        Raises:
            InvalidValueError: One fits no text encoder, two have one trigger word, or the bundle
                takes no concepts; then nothing has changed.
        """
        taken = Counter(concept.token.lower() for concept in concepts)
        for concept in concepts:
            if taken[concept.token.lower()] > 1:
                hint = "Give one of the two another trigger word"
                allowed = "not the trigger word of two concepts"
                raise InvalidValueError("token", concept.token, allowed, hint)
        before, self.concepts = self.concepts, tuple(concepts)
        try:
            self._announce_concepts()
        except InvalidValueError:
            self.concepts = before
            self._announce_concepts()
            raise

    def encode(self, prompt: Prompt, clip_skip: int = 0) -> FloatArray:
        """Encode a prompt.

        Args:
            prompt: A text, or what was encoded elsewhere.
            clip_skip: How many of the text encoders' last layers to leave out; for texts.

        Returns:
            (length × chunks, dim) float32, read-only.

        Raises:
            InvalidValueError: The prompt is no Unicode text, or its weights are of no use.
            EngineExecutionError: A text encoder failed.
        """
        if isinstance(prompt, PromptEmbeds):
            return prompt.values
        if isinstance(prompt, ZeroPrompt):
            return np.zeros(self.shape, np.float32)
        encoded = self._kept(prompt, clip_skip)
        if encoded.cut:
            _warn_of_cut(self.shape[0] - 2, encoded.cut)
        return encoded.embeds

    def pooled(self, prompt: Prompt, clip_skip: int = 0) -> FloatArray | None:
        """Sum a prompt up, where the family does that.

        Returns:
            (pooled dim,) float32, read-only, or None.
        """
        if not self.pooled_dim:
            return None
        if isinstance(prompt, PromptEmbeds):
            return prompt.pooled
        if isinstance(prompt, ZeroPrompt):
            return np.zeros(self.pooled_dim, np.float32)
        return self._kept(prompt, clip_skip).pooled

    def _kept(self, prompt: str, clip_skip: int) -> _Encoded:
        key = prompt, clip_skip
        encoded = self._encoded.pop(key, None) or self._encode(prompt, clip_skip)
        self._encoded[key] = encoded
        while len(self._encoded) > self._kept_prompts:
            self._encoded.popitem(last=False)
        return encoded

    def count_chunks(self, prompt: Prompt) -> int:
        """Return how many chunks each text encoder reads for a prompt; nothing is encoded."""
        if isinstance(prompt, PromptEmbeds):
            return len(prompt.values) // self.shape[0]
        if isinstance(prompt, ZeroPrompt):
            return 1
        segments = parse_prompt(prompt)
        return max(len(encoder.chunked(segments).chunks) for encoder in self._encoders)

    def encode_pair(
        self, prompt: Prompt, negative_prompt: Prompt, clip_skip: int = 0
    ) -> tuple[FloatArray, FloatArray]:
        """Encode a prompt and its negative, the shorter one followed by empty chunks.

        This is what the web UI does with "Pad prompt/negative prompt to be same length".

        Returns:
            Two arrays of one shape, (length × chunks, dim) float32, read-only.
        """
        pair = [self.encode(text, clip_skip) for text in (prompt, negative_prompt)]
        length = max(map(len, pair))
        empty: list[Prompt] = [
            text if isinstance(text, ZeroPrompt) else "" for text in (prompt, negative_prompt)
        ]
        first, second = (
            self._padded(embeds, length, filler, clip_skip)
            for embeds, filler in zip(pair, empty, strict=True)
        )
        return first, second

    def _padded(
        self, embeds: FloatArray, length: int, filler: Prompt, clip_skip: int
    ) -> FloatArray:
        missing = (length - len(embeds)) // self.shape[0]
        if not missing:
            return embeds
        return np.concatenate([embeds, *[self.encode(filler, clip_skip)] * missing])

    def _encode(self, prompt: str, clip_skip: int) -> _Encoded:
        segments = parse_prompt(prompt)
        prompts = [encoder.chunked(segments) for encoder in self._encoders]
        length = max(len(chunked.chunks) for chunked in prompts)
        parts = [
            encoder.encode(chunked.chunks, length, clip_skip, self.clock)
            for encoder, chunked in zip(self._encoders, prompts, strict=True)
        ]
        embeds = np.concatenate([part.embeds for part in parts], axis=-1)
        pooled = next((part.pooled for part in parts if part.pooled is not None), None)
        for array in (embeds, pooled):
            if array is not None:
                array.flags.writeable = False
        return _Encoded(embeds, pooled, max((chunked.cut for chunked in prompts), key=len))

    def _announce_concepts(self) -> None:
        self._encoded.clear()
        for encoder in self._encoders:
            encoder.use(self.concepts)


class _Encoded(NamedTuple):
    embeds: FloatArray
    pooled: FloatArray | None
    cut: str


def _warn_of_cut(tokens: int, cut: str) -> None:
    warnings.warn(
        f"The prompt is longer than {tokens} tokens. These words had no effect: {cut!r}",
        PromptCutWarning,
        stacklevel=3,
    )
