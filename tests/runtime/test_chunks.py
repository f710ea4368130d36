"""Prompts are cut into chunks where the web UI cuts them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdopt.runtime.chunks import Chunk, ChunkedPrompt, Chunker
from sdopt.runtime.prompt_syntax import parse_prompt
from sdopt.runtime.tokenizer import ClipTokenizer

FOLDER = Path(__file__).parents[2] / "models" / "shapes" / "checkpoint" / "tokenizer"
TOKENIZER = ClipTokenizer.from_folder(FOLDER)
CHUNKER = Chunker(TOKENIZER)
START, END = TOKENIZER.framed([])[:2].tolist()
RED = TOKENIZER.tokens("red")[0].id
COMMA = TOKENIZER.tokens(",")[0].id


def cut(text: str, chunker: Chunker = CHUNKER) -> ChunkedPrompt:
    return chunker(parse_prompt(text))


def inner(chunk: Chunk) -> list[int]:
    """The tokens between start and end."""
    ids: list[int] = chunk.input_ids.tolist()
    assert ids[0] == START
    return ids[1 : ids.index(END, 1)]


def lengths(text: str) -> list[int]:
    return [len(inner(chunk)) for chunk in cut(text).chunks]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [0]),
        ("red", [1]),
        ("red " * 75, [75]),
        ("red " * 76, [75, 1]),
        ("red " * 150, [75, 75]),
        ("red " * 151, [75, 75, 1]),
        ("red BREAK red red", [1, 2]),
        ("BREAK red", [0, 1]),
        ("red BREAK", [1]),
        ("red BREAK BREAK red", [1, 0, 1]),
        ("BREAK", [0]),
        ("red " * 75 + "BREAK red", [75, 1]),
        ("red " * 76 + "BREAK red", [75, 1, 1]),
        # The last comma within 20 tokens of the end takes what follows it to the next chunk.
        ("red " * 55 + ", " + "red " * 20, [56, 20]),
        ("red " * 54 + ", " + "red " * 21, [75, 1]),
        ("red " * 74 + ", red", [75, 1]),
        ("red " * 60 + ", red , " + "red " * 20, [63, 20]),
        ("red " * 60 + ", " + "red " * 14 + ", red", [75, 2]),
        ("red " * 60 + ", " + "red " * 14, [75]),
        ("red " * 60 + ",, " + "red " * 20, [62, 20]),
    ],
)
def test_lengths_of_chunks(text: str, expected: list[int]) -> None:
    assert lengths(text) == expected


def test_every_chunk_has_its_own_start_end_and_padding() -> None:
    for chunk in cut("(red:1.5) " * 80).chunks:
        tokens = len(inner(chunk))
        assert chunk.input_ids.shape == chunk.weights.shape == (77,)
        assert chunk.input_ids.dtype == np.int64
        assert chunk.weights.dtype == np.float32
        assert set(chunk.input_ids[tokens + 1 :].tolist()) == {END}
        assert set(chunk.weights[1 : tokens + 1].tolist()) == {1.5}
        assert chunk.weights[0] == 1
        assert set(chunk.weights[tokens + 1 :].tolist()) <= {1.0}
        assert chunk.is_weighted


def test_weights_follow_their_tokens_over_a_border() -> None:
    first, second = cut("red " * 60 + ", (red:1.5) " + "red " * 20).chunks
    assert not first.is_weighted
    assert np.flatnonzero(second.weights != 1).tolist() == [1]


@settings(deadline=None)
@given(
    text=st.text(st.characters(codec="utf-8", exclude_characters="()[]\\")).filter(
        lambda t: "BREAK" not in t
    )
)
def test_a_prompt_without_syntax_has_the_tokenizers_ids(text: str) -> None:
    tokens = TOKENIZER(text)
    chunks = cut(text).chunks
    if not tokens.cut[0]:
        assert len(chunks) == 1
        np.testing.assert_array_equal(chunks[0].input_ids, tokens.input_ids[0])
    assert not any(chunk.is_weighted for chunk in chunks)


@settings(deadline=None)
@given(
    words=st.lists(st.sampled_from(["red", "red", "red", "red", "red", ",", "BREAK"]), max_size=400)
)
def test_chunks_are_those_of_the_definition(words: list[str]) -> None:
    """Token by token: a full chunk is closed when the next token comes, or goes back to a comma."""
    closed: list[list[int]] = []
    chunk: list[int] = []
    for word in words:
        if word == "BREAK":
            closed, chunk = [*closed, chunk], []
            continue
        if len(chunk) == 75:
            commas = [i for i, token in enumerate(chunk) if token == COMMA]
            back = 75 - commas[-1] if commas and word != "," else 75
            keep = 75 - back + 1 if back <= 20 else 75
            closed, chunk = [*closed, chunk[:keep]], chunk[keep:]
        chunk.append(COMMA if word == "," else RED)
    if chunk or not closed:
        closed.append(chunk)
    assert [inner(chunk) for chunk in cut(" ".join(words)).chunks] == closed


@settings(deadline=None)
@given(text=st.text(max_size=2000))
def test_any_text_gives_ids(text: str) -> None:
    chunked = cut(text)
    assert chunked.chunks
    assert chunked.cut == ""
    assert all(chunk.input_ids.shape == (77,) for chunk in chunked.chunks)


@pytest.mark.parametrize(
    ("text", "count", "left_out"),
    [
        ("red " * 75, 75, ""),
        ("red " * 75 + "blue green", 75, "blue green"),
        ("red " * 60 + ", " + "red " * 20 + "blue", 75, "red " * 6 + "blue"),
        ("(red:1.2) " * 75 + "[blue]", 75, "blue"),
        ("red BREAK (blue) green", 1, "blue green"),
        ("red BREAK BREAK blue", 1, "blue"),
        ("red BREAK", 1, ""),
    ],
)
def test_where_a_family_cannot_chunk_the_rest_is_named(
    text: str, count: int, left_out: str
) -> None:
    chunked = cut(text, Chunker(TOKENIZER, "cut"))
    (chunk,) = chunked.chunks
    assert len(inner(chunk)) == count
    assert chunked.cut == left_out
