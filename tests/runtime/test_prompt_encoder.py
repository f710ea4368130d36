"""From prompts to embeddings: chunks, weights, the cache, and pairs of one length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdopt.bundle.families import LongPrompts
from sdopt.errors import InvalidValueError
from sdopt.runtime.prompt_embeds import EmbedsRule
from sdopt.runtime.prompts import PromptCutWarning, PromptEncoder
from sdopt.runtime.tokenizer import ClipTokenizer
from sdopt.runtime.weighting import weigh
from tests.runtime.toy_text_encoder import DIM, ENCODING, ToyTextEncoder

TOKENIZER = ClipTokenizer.from_folder(
    Path(__file__).parents[2] / "models" / "shapes" / "checkpoint" / "tokenizer"
)


class Bench:
    """An encoder over a toy whose runs are counted."""

    def __init__(self, *, long_prompts: LongPrompts = "chunk", kept_prompts: int = 64) -> None:
        self.toy = ToyTextEncoder()
        self.encoder = PromptEncoder(
            (ENCODING,),
            {"tokenizer": TOKENIZER},
            {"text_encoder": self.toy},
            long_prompts=long_prompts,
            kept_prompts=kept_prompts,
        )


def hidden(text: str) -> np.ndarray:
    return ToyTextEncoder.hidden(TOKENIZER(text).input_ids[0])


@pytest.mark.parametrize("prompt", ["", "a red circle", "red " * 75])
def test_a_prompt_without_syntax_has_the_text_encoders_bits(prompt: str) -> None:
    embeds = Bench().encoder.encode(prompt)
    assert embeds.tobytes() == hidden(prompt).tobytes()
    assert (embeds.shape, embeds.dtype) == ((77, DIM), np.float32)


@pytest.mark.parametrize("prompt", ["(red:1.0) circle", r"red (circle:1)"])
def test_weights_of_one_change_no_bit(prompt: str) -> None:
    assert Bench().encoder.encode(prompt).tobytes() == hidden("red circle").tobytes()


def test_chunks_are_joined_along_the_sequence() -> None:
    embeds = Bench().encoder.encode("red " * 80 + "BREAK blue")
    parts = [hidden("red " * 75), hidden("red " * 5), hidden("blue")]
    assert embeds.tobytes() == np.concatenate(parts).tobytes()


def test_weights_scale_tokens_and_keep_the_mean_of_their_chunk() -> None:
    embeds = Bench().encoder.encode("a (red:1.5) circle BREAK [blue]")
    first, second = hidden("a red circle").astype(float), hidden("blue").astype(float)
    for found, plain, position, weight in (
        (embeds[:77], first, 2, 1.5),
        (embeds[77:], second, 1, 1 / 1.1),
    ):
        expected = plain.copy()
        expected[position] *= weight
        expected *= plain.mean() / expected.mean()
        np.testing.assert_allclose(found, expected, rtol=2e-6)
        assert found.mean(dtype=float) == pytest.approx(plain.mean(), rel=1e-6)


def test_weights_that_cancel_the_mean_are_refused() -> None:
    with pytest.raises(InvalidValueError) as caught:
        weigh(np.ones((2, 4), np.float32), np.array([1, -1], np.float32))
    assert str(caught.value) == (
        "mean of the weighted embeddings=0.0 is not allowed. mean of the weighted embeddings is a "
        "number other than 0. Negative weights cancel the rest of the prompt: bring them closer "
        "to 0."
    )


def test_a_repeated_prompt_costs_nothing() -> None:
    bench = Bench(kept_prompts=2)
    first = bench.encoder.encode("red")
    assert bench.encoder.encode("red") is first
    assert bench.toy.runs == 1
    bench.encoder.encode("green")
    bench.encoder.encode("red")
    bench.encoder.encode("blue")  # green was used longest ago
    bench.encoder.encode("red")
    assert bench.toy.runs == 3
    bench.encoder.encode("green")
    assert bench.toy.runs == 4
    assert not first.flags.writeable


@pytest.mark.parametrize("swapped", [False, True])
def test_the_shorter_of_a_pair_is_followed_by_empty_chunks(swapped: bool) -> None:
    bench = Bench()
    pair = ("red", "blue " * 160)
    short, long = bench.encoder.encode_pair(*pair[:: -1 if swapped else 1])[:: -1 if swapped else 1]
    assert long.tobytes() == bench.encoder.encode(pair[1]).tobytes()
    assert short.tobytes() == np.concatenate([hidden("red"), hidden(""), hidden("")]).tobytes()


def test_given_embeddings_are_taken_as_they_are_and_paired() -> None:
    bench = Bench()
    given = EmbedsRule(77, DIM).check("prompt_embeds", np.ones((154, DIM), np.float32))
    assert bench.encoder.encode(given) is given.values
    assert bench.toy.runs == 0
    embeds, negative = bench.encoder.encode_pair(given, "red")
    assert embeds is given.values
    assert negative.tobytes() == np.concatenate([hidden("red"), hidden("")]).tobytes()


def test_where_a_family_cannot_chunk_a_warning_names_the_words_every_time() -> None:
    bench = Bench(long_prompts="cut")
    for _ in range(2):
        with pytest.warns(PromptCutWarning) as caught:
            embeds = bench.encoder.encode("red " * 75 + "(blue) green")
        assert str(caught[0].message) == (
            "The prompt is longer than 75 tokens. These words had no effect: 'blue green'"
        )
    assert embeds.tobytes() == hidden("red " * 75).tobytes()
    assert bench.toy.runs == 1
