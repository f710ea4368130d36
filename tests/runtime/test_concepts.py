"""Concepts: files in the layouts that people share, and trigger words in prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from sdopt.errors import ConceptFileError, InvalidValueError
from sdopt.runtime.chunks import Chunker
from sdopt.runtime.concept_file import Concept, read_concept
from sdopt.runtime.concepts import ConceptTable
from sdopt.runtime.prompt_syntax import parse_prompt
from sdopt.runtime.prompts import PromptEncoder
from sdopt.runtime.tokenizer import ClipTokenizer
from tests.runtime.toy_text_encoder import ENCODING, ToyTextEncoder

WIDTH = 8
TOKENIZER = ClipTokenizer.from_folder(
    Path(__file__).parents[2] / "models" / "shapes" / "checkpoint" / "tokenizer"
)


def concept(token: str, count: int = 1, width: int = WIDTH) -> Concept:
    return Concept(token, (np.full((count, width), 0.5, np.float32),), "0" * 64)


def table(*concepts: Concept) -> ConceptTable:
    return ConceptTable(concepts, TOKENIZER, WIDTH)


def ids(text: str) -> list[int]:
    return [token.id for token in TOKENIZER.tokens(text)]


# --- files --------------------------------------------------------------------------------------

VECTORS = np.arange(3 * WIDTH, dtype=np.float32).reshape(3, WIDTH)


@pytest.mark.parametrize(
    ("tensors", "token", "widths"),
    [
        ({"<cat-toy>": VECTORS}, "<cat-toy>", (WIDTH,)),
        ({"<cat-toy>": VECTORS[0]}, "<cat-toy>", (WIDTH,)),
        ({"emb_params": VECTORS}, "style", (WIDTH,)),
        ({"emb_params": VECTORS, "step": np.ones(1, np.float32)}, "style", (WIDTH,)),
        ({"clip_g": VECTORS[:, :5].copy(), "clip_l": VECTORS}, "style", (WIDTH, 5)),
    ],
)
def test_layouts(
    tmp_path: Path, tensors: dict[str, Any], token: str, widths: tuple[int, ...]
) -> None:
    save_file(tensors, tmp_path / "style.safetensors")
    found = read_concept(tmp_path / "style.safetensors")
    assert (found.token, found.widths) == (token, widths)
    expected = next(iter(tensors.values())) if len(widths) == 1 else VECTORS
    np.testing.assert_array_equal(found.vectors[0], np.atleast_2d(expected))
    assert not found.vectors[0].flags.writeable
    assert read_concept(tmp_path / "style.safetensors", "mine").token == "mine"


def test_bfloat16_and_float16_are_read(tmp_path: Path) -> None:
    values = np.array([[1.5, -2.0, 0.15625]], np.float32)
    half = (values.view("<u4") >> 16).astype("<u2").tobytes()
    for dtype, data in (("BF16", half), ("F16", values.astype("<f2").tobytes())):
        path = tmp_path / f"{dtype}.safetensors"
        header = {"w": {"dtype": dtype, "shape": [1, 3], "data_offsets": [0, len(data)]}}
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data)
        np.testing.assert_array_equal(read_concept(path).vectors[0], values)


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        (
            {"a": VECTORS, "b": VECTORS},
            "It holds the tensors ['a', 'b']. It is one tensor named after the trigger word, or "
            "emb_params, or clip_l and clip_g.",
        ),
        (
            {"a": np.ones((1, 2, 3), np.float32)},
            "a has the shape (1, 2, 3). It is one tensor named after the trigger word, or "
            "emb_params, or clip_l and clip_g.",
        ),
        ({"a": np.ones((2, 3), np.int64)}, "a is stored as I64. Supported: F32, F16, BF16."),
        ({"a": np.full((2, 3), np.nan, np.float32)}, "a holds NaN or infinity."),
        (
            {"clip_l": VECTORS, "clip_g": VECTORS[:2].copy()},
            "Its text encoders have different numbers of vectors.",
        ),
        ({" ": VECTORS}, "' ' is no trigger word. Name one with token=."),
    ],
)
def test_files_that_hold_no_concept(tmp_path: Path, tensors: dict[str, Any], problem: str) -> None:
    path = tmp_path / "x.safetensors"
    save_file(tensors, path)
    with pytest.raises(ConceptFileError) as caught:
        read_concept(path)
    assert str(caught.value) == f"Textual inversion {path}: {problem}"


def test_pickled_missing_and_broken_files(tmp_path: Path) -> None:
    broken = tmp_path / "x.safetensors"
    broken.write_bytes(b"hello, this is no safetensors file")
    for path, problem in (
        (
            tmp_path / "x.pt",
            "Pickled files can run any code when read. Convert it once, where you trust it, with "
            "safetensors.torch.save_file.",
        ),
        (tmp_path / "none.safetensors", "It cannot be read: No such file or directory."),
    ):
        with pytest.raises(ConceptFileError) as caught:
            read_concept(path)
        assert str(caught.value) == f"Textual inversion {path}: {problem}"
    with pytest.raises(ConceptFileError, match="It is no safetensors file"):
        read_concept(broken)


# --- in prompts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("red odd circle", [*ids("red"), -1, -2, *ids("circle")]),
        ("red ODD, circle", [*ids("red"), -1, -2, *ids(", circle")]),
        ("oddly", ids("oddly")),
        ("odd2", [-1, -2, *ids("2")]),
        ("an odd one", [*ids("an"), -3]),
        ("an odd  one", [*ids("an"), -3]),
        ("an <x>, <X>", [*ids("an"), -4, *ids(","), -4]),
        ("red", ids("red")),
        ("", []),
    ],
)
def test_trigger_words_become_ids(text: str, expected: list[int]) -> None:
    concepts = table(concept("odd", 2), concept("odd one"), concept("<x>"))
    assert [token.id for token in concepts.tokens(text)] == expected


def test_tokens_know_where_they_stand_and_what_they_are_joined_to() -> None:
    tokens = table(concept("odd", 3)).tokens("red odd circle")
    assert [token.start for token in tokens] == [0, 4, 4, 4, 8]
    assert [token.joined for token in tokens] == [False, False, True, True, False]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_without_trigger_words_is_tokenized_as_before(text: str) -> None:
    word = "\ue000never\ue000"
    assert table(concept(word)).tokens(text) == TOKENIZER.tokens(text)


def test_a_concept_stays_whole() -> None:
    chunker = Chunker(TOKENIZER, concepts=table(concept("odd", 10)))
    chunks = chunker(parse_prompt("red " * 70 + "odd red")).chunks
    first, second = (chunk.input_ids.tolist() for chunk in chunks)
    assert (first.count(*ids("red")), second.count(*ids("red"))) == (70, 1)
    assert second[1:11] == list(range(-1, -11, -1))


def test_a_concept_that_fills_a_chunk() -> None:
    chunker = Chunker(TOKENIZER, concepts=table(concept("odd", 75)))
    chunks = chunker(parse_prompt("red (odd:1.5) red")).chunks
    assert len(chunks) == 3
    assert set(chunks[1].weights.tolist()) == {1.0, 1.5}


@pytest.mark.parametrize(
    ("concepts", "message"),
    [
        (
            [concept("odd", 76)],
            "vectors of the concept 'odd'=76 is not allowed. vectors of the concept 'odd' is at "
            "most 75, the room in one chunk.",
        ),
        (
            [concept("odd", 1, 5)],
            "width of the concept 'odd'='5' is not allowed. width of the concept 'odd' is 8 for "
            "this text encoder. The concept was trained for another family of models.",
        ),
        (
            [concept("odd"), concept("ODD")],
            "token='odd' is not allowed. token is not the trigger word of two concepts. Give one "
            "of the two another trigger word.",
        ),
    ],
)
def test_concepts_that_do_not_fit(concepts: list[Concept], message: str) -> None:
    encoder = toy_encoder()
    encoder.use([concept("even")])
    with pytest.raises(InvalidValueError) as caught:
        encoder.use(concepts)
    assert str(caught.value) == message
    assert [known.token for known in encoder.concepts] == ["even"]


def test_a_text_encoder_without_the_input_takes_none() -> None:
    encoder = toy_encoder(takes_concepts=False)
    with pytest.raises(InvalidValueError) as caught:
        encoder.use([concept("odd")])
    assert str(caught.value) == (
        "token='odd' is not allowed. token is usable where text_encoder has the input "
        "concept_embeds. Export the checkpoint again with this version of sdopt."
    )


def test_encoded_prompts_are_forgotten_with_the_concepts() -> None:
    encoder = toy_encoder()
    before = encoder.encode("odd")
    encoder.use([concept("odd")])
    assert not np.array_equal(encoder.encode("odd"), before)
    encoder.use([])
    assert np.array_equal(encoder.encode("odd"), before)


def toy_encoder(*, takes_concepts: bool = True) -> PromptEncoder:
    toy = ToyTextEncoder(takes_concepts=takes_concepts)
    return PromptEncoder((ENCODING,), {"tokenizer": TOKENIZER}, {"text_encoder": toy})
