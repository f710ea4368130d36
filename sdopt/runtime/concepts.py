"""Concepts in prompts: trigger words become ids that select vectors of their own.

The text encoder's graph takes the vectors as a second input, and negative ids select from them, so
a concept needs neither torch nor a new graph, and costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from sdopt.errors import InvalidValueError
from sdopt.runtime.concept_file import Concept
from sdopt.runtime.ports import FloatArray
from sdopt.runtime.tokenizer import ClipTokenizer, Token


class ConceptTable:
    """The concepts of one text encoder: their vectors, and their trigger words in texts.

    A trigger word is found where it is written, in small or capital letters, unless more letters
    adjoin it; where several are, the longest counts.

    Attributes:
        vectors: (rows, width) float32, read-only; id ``-1 - k`` means row k. One row of zeros
            where there is no concept.
    """

    def __init__(self, concepts: Sequence[Concept], tokenizer: ClipTokenizer, width: int) -> None:
        """Take in concepts.

        Raises:
            InvalidValueError: One has no vectors of this width, or more than a chunk has room for.
        """
        self._tokenizer = tokenizer
        room = tokenizer.max_length - 2
        matching = [_vectors(concept, width, room) for concept in concepts]
        self.vectors: FloatArray = np.concatenate(matching or [np.zeros((1, width), np.float32)])
        self.vectors.flags.writeable = False
        words = zip((concept.token for concept in concepts), _ids(concepts), strict=True)
        self._words = sorted(words, key=lambda word: -len(word[0]))
        triggers = "|".join(f"({_pattern(token)})" for token, _ in self._words)
        self._triggers = re.compile(triggers, re.IGNORECASE)

    def tokens(self, text: str) -> list[Token]:
        """Return the tokens of a text, without start and end, in linear time.

        Of a concept's tokens, all but the first are ``joined`` to the one before.

        Raises:
            InvalidValueError: The text holds a lone surrogate, which is no Unicode text.
        """
        if not self._words:
            return self._tokenizer.tokens(text)
        tokens, begin = list[Token](), 0
        for match in self._triggers.finditer(text):
            tokens += self._plain(text[begin : match.start()], begin)
            _, ids = self._words[(match.lastindex or 1) - 1]
            tokens += [Token(number, match.start(), joined=number != ids[0]) for number in ids]
            begin = match.end()
        return tokens + self._plain(text[begin:], begin)

    def _plain(self, text: str, begin: int) -> list[Token]:
        return [Token(token.id, begin + token.start) for token in self._tokenizer.tokens(text)]


def _ids(concepts: Sequence[Concept]) -> Iterator[range]:
    """Yield the ids of each concept's vectors."""
    row = 0
    for concept in concepts:
        yield range(-1 - row, -1 - row - concept.count, -1)
        row += concept.count


def _pattern(token: str) -> str:
    """Match a trigger word; a letter at its edge must be the edge of the word in the text too."""
    letter = r"[^\W\d_]"
    before = f"(?<!{letter})" if token[0].isalpha() else ""
    after = f"(?!{letter})" if token[-1].isalpha() else ""
    return before + r"\s+".join(map(re.escape, token.split())) + after


def _vectors(concept: Concept, width: int, room: int) -> FloatArray:
    for vectors in concept.vectors:
        if vectors.shape[1] == width:
            break
    else:
        raise InvalidValueError(
            f"width of the concept {concept.token!r}",
            ", ".join(map(str, concept.widths)),
            f"{width} for this text encoder",
            "The concept was trained for another family of models",
        )
    if concept.count > room:
        name = f"vectors of the concept {concept.token!r}"
        raise InvalidValueError(name, concept.count, f"at most {room}, the room in one chunk")
    return vectors
