r"""Weights in prompts, with the AUTOMATIC1111 web UI's meaning, in linear time.

========================  =====================================================================
``(word)``                weight × 1.1
``(word:1.3)``            weight × 1.3
``[word]``                weight ÷ 1.1
``\(  \)  \[  \]  \\``    the character itself; a backslash before anything else vanishes
``BREAK``                 what follows starts a new chunk
========================  =====================================================================

Brackets nest, and round ones know nothing of square ones. A bracket that is never closed reaches to
the end of the prompt; one that was never opened is text.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sdopt.errors import InvalidValueError

ROUND_FACTOR = 1.1
SQUARE_FACTOR = 1 / 1.1
MAX_WEIGHT = 1000.0

# Each alternative takes what it sees and never gives back, so scanning is linear; so is _NUMBER.
_LEXEME = re.compile(r"\\[\\()\[\]]|[\\()\[\]]|[^\\()\[\]]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_BREAK = re.compile(r"\bBREAK\b")


class Piece(NamedTuple):
    """A stretch of text whose tokens have one weight, dimensionless."""

    text: str
    weight: float


Segment = tuple[Piece, ...]
"""What lies between two BREAKs; without pieces where there is nothing but white space."""


def parse_prompt(text: str, name: str = "prompt") -> tuple[Segment, ...]:
    r"""Read the weights and BREAKs of a prompt.

    >>> for piece in parse_prompt(r"a (red:1.3) circle \(new\)")[0]:
    ...     print(piece.weight, repr(piece.text))
    1.0 'a '
    1.3 'red'
    1.0 ' circle (new)'

    Args:
        text: Any text.
        name: Of the request's field, for messages.

    Returns:
        At least one segment; neighbouring pieces have different weights, and no piece is empty.

    Raises:
        InvalidValueError: A weight is beyond ±1000.
    """
    scan = _Scan()
    for match in _LEXEME.finditer(text):
        scan.take(match.group())
    return tuple(_merged(segment, name) for segment in scan.weighted_segments())


class _Raw(NamedTuple):
    text: str
    bracket: int
    squares: int


class _Scan:
    """The state of reading a prompt from left to right.

    Round brackets are numbered in the order of their opening; number 0 stands for none. Their
    factors are known only when they close, so pieces note the innermost one that they lie in.
    """

    def __init__(self) -> None:
        self._segments: list[list[_Raw]] = [[]]
        self._outer, self._factors = [0], [1.0]
        self._bracket, self._squares = 0, 0
        self._may_end_in_weight = False

    def take(self, lexeme: str) -> None:
        """Read one bracket, escape or run of text."""
        may_end_in_weight, self._may_end_in_weight = self._may_end_in_weight, False
        if lexeme == "(":
            self._open()
        elif lexeme == ")" and self._bracket:
            self._close(may_end_in_weight)
        elif lexeme == "[":
            self._squares += 1
        elif lexeme == "]" and self._squares:
            self._squares -= 1
        elif lexeme[0] == "\\":
            self._add(lexeme[1:])
        else:
            self._add_run(lexeme)

    def weighted_segments(self) -> list[list[Piece]]:
        """Return the pieces with their weights, now that every bracket's factor is known."""
        products: list[float] = []
        for outer, factor in zip(self._outer, self._factors, strict=True):
            products.append(factor * products[outer] if products else factor)
        return [
            [Piece(raw.text, products[raw.bracket] * SQUARE_FACTOR**raw.squares) for raw in segment]
            for segment in self._segments
        ]

    def _open(self) -> None:
        self._outer.append(self._bracket)
        self._factors.append(ROUND_FACTOR)
        self._bracket = len(self._factors) - 1

    def _close(self, may_end_in_weight: bool) -> None:
        if may_end_in_weight:
            self._take_weight()
        self._bracket = self._outer[self._bracket]

    def _take_weight(self) -> None:
        """Cut ``:1.3`` off the last piece, if it ends so, for the bracket that closes now."""
        last = self._segments[-1].pop()
        text, colon, number = last.text.rpartition(":")
        if colon and _NUMBER.fullmatch(number.strip()):
            self._factors[self._bracket] = float(number)
        else:
            text = last.text
        if text:
            self._add(text)

    def _add(self, text: str) -> None:
        self._segments[-1].append(_Raw(text, self._bracket, self._squares))

    def _add_run(self, run: str) -> None:
        first, *others = _BREAK.split(run)
        self._add(first.rstrip() if others else first)
        for left, part in enumerate(others, start=1 - len(others)):
            self._segments.append([])
            self._add(part.strip() if left else part.lstrip())
        self._may_end_in_weight = True


def _merged(pieces: list[Piece], name: str) -> Segment:
    """Join neighbours of equal weight, whose tokens may span them, and drop what is empty."""
    joined: list[tuple[list[str], float]] = []
    for text, weight in pieces:
        if joined and joined[-1][1] == weight:
            joined[-1][0].append(text)
        else:
            joined.append(([text], weight))
    merged = tuple(Piece("".join(texts), weight) for texts, weight in joined if any(texts))
    for piece in merged:
        if not abs(piece.weight) <= MAX_WEIGHT:
            raise InvalidValueError(
                f"{name} weight",
                piece.weight,
                f"a number from -{MAX_WEIGHT:.0f} to {MAX_WEIGHT:.0f}",
                f"It is that of {piece.text[:40]!r}. Write \\( for a bracket that is no weight",
            )
    return merged
