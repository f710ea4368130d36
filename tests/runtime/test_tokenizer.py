"""The tokenizer equals transformers.CLIPTokenizer, from both layouts on disk."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdopt.bundle.carried import locate
from sdopt.errors import BundleError, InvalidValueError
from sdopt.runtime.tokenizer import ClipTokenizer

transformers = pytest.importorskip("transformers", reason="needs sdopt[export]")

CLIP = Path(__file__).parents[3] / "shared" / "clip-tokenizer"
needs_clip = pytest.mark.skipif(not CLIP.is_dir(), reason="CLIP's own vocabulary is not here")
PIECES = [
    *("a", "photo", "of", "Puppy's", "", "\n\t", "don't", "é", "e\u0301", "日本語", "😀"),
    *("👩\u200d👩\u200d👧", "!", "!!", "1234", "12.5%", "İ", "ß", "ﬁ", "\u00a0", "\u200b", "\x00"),
    *("$%&", "ǅ", "सा", "ع", "\ufeff", "<|endoftext|>", "<|startoftext|>x", "</w>"),
    *("<|ENDOFTEXT|>", "red", "circle"),
]


def varied_texts(count: int) -> list[str]:
    rng = random.Random(0)
    texts = ["", " ", "A picture of a puppy", "word " * 200, "x" * 500, "é" * 77]
    while len(texts) < count:
        chosen = rng.choices(PIECES, k=rng.randint(1, 60))
        texts.append("".join(piece + rng.choice(("", " ")) for piece in chosen))
    return texts


def theirs(folder: Path, **settings: str) -> object:
    return transformers.CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77, **settings
    )


def ids_of(tokenizer: object, texts: list[str]) -> np.ndarray:
    return tokenizer(  # type: ignore[operator]
        texts, padding="max_length", truncation=True, max_length=77, return_tensors="np"
    ).input_ids


@pytest.fixture(scope="module", params=["shapes", pytest.param("clip", marks=needs_clip)])
def vocabulary(request: pytest.FixtureRequest) -> Path:
    return locate("shapes") / "tokenizer" if request.param == "shapes" else CLIP


def test_equals_transformers_from_vocab_and_merges(vocabulary: Path) -> None:
    texts = varied_texts(2500)
    ours = ClipTokenizer.from_folder(vocabulary)(texts).input_ids
    np.testing.assert_array_equal(ours, ids_of(theirs(vocabulary), texts))


@pytest.mark.parametrize("pad_token", ["<|endoftext|>", "!"])
def test_equals_transformers_from_tokenizer_json(
    vocabulary: Path, tmp_path: Path, pad_token: str
) -> None:
    reference = theirs(vocabulary, pad_token=pad_token)
    reference.save_pretrained(tmp_path)  # type: ignore[attr-defined]
    assert not (tmp_path / "vocab.json").exists()
    texts = varied_texts(1000)
    ours = ClipTokenizer.from_folder(tmp_path)(texts).input_ids
    np.testing.assert_array_equal(ours, ids_of(reference, texts))


@needs_clip
def test_the_example_of_the_seed_documents() -> None:
    tokenizer = ClipTokenizer.from_folder(CLIP)
    ids = tokenizer("A picture of a puppy").input_ids
    expected = [49406, 320, 1674, 539, 320, 6829, 49407] + [49407] * 70
    assert ids.shape == (1, 77)
    assert ids.dtype == np.int64
    assert ids[0].tolist() == expected


def test_what_does_not_fit_is_named(vocabulary: Path) -> None:
    words = [f"{'red' if i % 2 else 'blue'}" for i in range(80)]
    tokens = ClipTokenizer.from_folder(vocabulary)([" ".join(words), "short"])
    cut = tokens.cut[0].split()
    assert tokens.cut[1] == ""
    assert cut == words[len(words) - len(cut) :]
    assert len(words) - len(cut) <= 75


def test_a_lone_surrogate_is_refused(vocabulary: Path) -> None:
    with pytest.raises(InvalidValueError) as caught:
        ClipTokenizer.from_folder(vocabulary)("a \ud800 b")
    assert str(caught.value) == (
        "prompt='a \\ud800 b' is not allowed. prompt is Unicode text without lone surrogates."
    )


@settings(max_examples=300, deadline=None)
@given(text=st.text())
def test_any_text_gives_ids(text: str) -> None:
    tokenizer = ClipTokenizer.from_folder(locate("shapes") / "tokenizer")
    (ids,) = tokenizer(text).input_ids
    size = tokenizer._tokenizer.get_vocab_size()
    assert ids[0] == tokenizer._start
    assert tokenizer._end in ids
    assert ids.min() >= 0
    assert ids.max() < size


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        ClipTokenizer.from_folder(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds neither tokenizer.json nor vocab.json with merges.txt."
    )


def test_a_damaged_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleError, match=f"The tokenizer in {tmp_path} cannot be read"):
        ClipTokenizer.from_folder(tmp_path)
