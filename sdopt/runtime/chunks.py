"""From weighted text to chunks that a text encoder reads, as the AUTOMATIC1111 web UI cuts them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdopt.bundle.families import LongPrompts
from sdopt.runtime.concepts import ConceptTable
from sdopt.runtime.ports import FloatArray
from sdopt.runtime.prompt_syntax import Segment
from sdopt.runtime.tokenizer import ClipTokenizer

COMMA_BACKTRACK = 20
"""Tokens: a comma this near to a chunk's end ends it, so that fewer phrases are torn apart."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a text encoder reads at once.

    Attributes:
        input_ids: (77,) int64: start, up to 75 tokens, end, padding.
        weights: (77,) float32, dimensionless; 1 for start, end and padding.
    """

    input_ids: NDArray[np.int64]
    weights: FloatArray

    @property
    def is_weighted(self) -> bool:
        """Whether some token's weight is not 1."""
        return bool((self.weights != 1).any())


@dataclass(frozen=True, slots=True)
class ChunkedPrompt:
    """A prompt as chunks.

    Attributes:
        chunks: At least one.
        cut: What had to be left out, without syntax; empty where nothing had.
    """

    chunks: tuple[Chunk, ...]
    cut: str


class _Token(NamedTuple):
    id: int
    weight: float
    start: int
    joined: bool


class Chunker:
    """Cuts prompts into chunks for one tokenizer.

    A chunk ends where it is full, at a BREAK, or at the last comma within ``COMMA_BACKTRACK``
    tokens of its end if the token that no longer fits is not a comma itself. Where a family reads
    one chunk alone, that one is filled to its end. A concept of several vectors stays whole.
    """

    def __init__(
        self,
        tokenizer: ClipTokenizer,
        long_prompts: LongPrompts = "chunk",
        concepts: ConceptTable | None = None,
    ) -> None:
        self._tokenizer, self._long_prompts, self._concepts = tokenizer, long_prompts, concepts
        self._size = tokenizer.max_length - 2
        self._comma = tokenizer.id_of(",</w>")
        self._backtrack = min(COMMA_BACKTRACK, self._size) if long_prompts == "chunk" else 0

    @property
    def chunk_length(self) -> int:
        """Ids per chunk, start and end included."""
        return self._tokenizer.max_length

    @property
    def empty(self) -> Chunk:
        """The chunk of an empty prompt."""
        return self._chunk([])

    def __call__(self, segments: Sequence[Segment]) -> ChunkedPrompt:
        """Tokenize and cut a prompt, as :func:`sdopt.runtime.prompt_syntax.parse_prompt` reads it.

        Raises:
            InvalidValueError: The text holds a lone surrogate, which is no Unicode text.
        """
        parts: list[list[_Token]] = []
        begin = 0
        for segment in segments:
            parts.extend(self._split(list(self._tokens(segment, begin))))
            begin += sum(len(piece.text) for piece in segment) + 1
        if len(parts) > 1 and not parts[-1]:
            parts.pop()  # nothing follows the last BREAK
        if self._long_prompts == "chunk":
            return ChunkedPrompt(tuple(map(self._chunk, parts)), "")
        lost = next((part[0].start for part in parts[1:] if part), None)
        return ChunkedPrompt(
            (self._chunk(parts[0]),), "" if lost is None else _text(segments)[lost:]
        )

    def _tokens(self, segment: Segment, start: int) -> Iterator[_Token]:
        for piece in segment:
            for token in (self._concepts or self._tokenizer).tokens(piece.text):
                yield _Token(token.id, piece.weight, start + token.start, token.joined)
            start += len(piece.text)

    def _split(self, tokens: list[_Token]) -> list[list[_Token]]:
        begin, parts = 0, []
        while len(tokens) - begin > self._size:
            end = self._end(tokens, begin + self._size)
            parts.append(tokens[begin:end])
            begin = end
        return [*parts, tokens[begin:]]

    def _end(self, tokens: list[_Token], full: int) -> int:
        """Return where a chunk ends that is full before token ``full``: there, or at a comma."""
        if tokens[full].joined:
            return next(end for end in range(full, -1, -1) if not tokens[end].joined)
        if tokens[full].id == self._comma:
            return full
        near = range(full, full - self._backtrack, -1)
        return next((end for end in near if tokens[end - 1].id == self._comma), full)

    def _chunk(self, tokens: list[_Token]) -> Chunk:
        weights = np.ones(self._tokenizer.max_length, np.float32)
        weights[1 : len(tokens) + 1] = [token.weight for token in tokens]
        return Chunk(self._tokenizer.framed([token.id for token in tokens]), weights)


def _text(segments: Sequence[Segment]) -> str:
    return " ".join("".join(piece.text for piece in segment) for segment in segments)
