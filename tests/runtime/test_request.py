"""Requests are checked before anything is computed, and every message says what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sdopt.bundle.manifest import Defaults
from sdopt.errors import RequestError
from sdopt.runtime.request import GenerationRequest
from sdopt.runtime.request_rules import RequestRules

RULES = RequestRules(
    defaults=Defaults(height=96, width=104, num_inference_steps=30, guidance_scale=4.0),
    size_multiple=8,
    scheduler={"_class_name": "PNDMScheduler", "skip_prk_steps": True},
    max_clip_skip=2,
)


def ask(prompt: Any = "a cat", **options: Any) -> GenerationRequest:
    return RULES.request(prompt, options)  # type: ignore[arg-type]


def test_what_is_left_open_is_filled_in() -> None:
    request = ask(seed=7)
    assert request.prompts == ("a cat",)
    assert (request.height, request.width) == (96, 104)
    assert (request.num_inference_steps, request.plan.name) == (30, "pndm")
    assert request.guidance_scale == 4.0
    assert request.guided
    assert request.seeds == (7,)


def test_seeds_count_over_all_pictures() -> None:
    request = ask(["a cat", "a dog"], num_images_per_prompt=2, seed=5)
    assert request.seeds == (5, 6, 7, 8)
    assert [request.prompt_of(i) for i in range(4)] == ["a cat", "a cat", "a dog", "a dog"]
    assert request.settings(2)["prompt"] == "a dog"
    assert request.settings(2)["seed"] == 7


def test_seed_zero_is_a_seed_and_no_seed_is_drawn() -> None:
    assert ask(seed=0).seed == 0
    drawn = {ask().seed for _ in range(20)}
    assert len(drawn) > 1


def test_a_numpy_integer_is_a_whole_number() -> None:
    assert ask(seed=np.int64(3)).seed == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"height": 500, "width": 512},
            "height=500 is not a multiple of 8. The nearest heights are 496 and 504.",
        ),
        (
            {"height": 512, "width": 1},
            "width=1 is smaller than 64, the smallest width.",
        ),
        (
            {"height": 512},
            "width=None is not allowed. width is required where height is given.",
        ),
        (
            {"height": 512.0, "width": 512},
            "height=512.0 is not allowed. height is a multiple of 8.",
        ),
        (
            {"scheduler": "eular"},
            "Unknown scheduler 'eular'. Did you mean 'euler'? Choices: ",
        ),
        (
            {"num_inference_steps": 0},
            "num_inference_steps=0 is not allowed. "
            "num_inference_steps is a whole number from 1 to 1000.",
        ),
        (
            {"num_inference_steps": 1001},
            "num_inference_steps=1001 is not allowed. "
            "num_inference_steps is a whole number from 1 to 1000.",
        ),
        (
            {"seed": "abc"},
            "seed='abc' is not allowed. seed is a whole number from 0 to 4294967295.",
        ),
        (
            {"seed": True},
            "seed=True is not allowed. seed is a whole number from 0 to 4294967295.",
        ),
        (
            {"seed": -1},
            "seed=-1 is not allowed. seed is a whole number from 0 to 4294967295.",
        ),
        (
            {"seed": 2**32 - 1, "num_images_per_prompt": 2},
            "seed=4294967295 is not allowed. seed is a whole number from 0 to 4294967294. "
            "Picture i of 2 uses seed + i.",
        ),
        (
            {"guidance_scale": -1},
            "guidance_scale=-1 is not allowed. guidance_scale is a finite number of at least 0.",
        ),
        (
            {"guidance_scale": float("nan")},
            "guidance_scale=nan is not allowed. guidance_scale is a finite number of at least 0.",
        ),
        (
            {"guidance_scale": 1, "negative_prompt": "blurry"},
            "guidance_scale=1.0 is not allowed. guidance_scale is above 1 where negative_prompt is "
            "given. Without guidance a negative prompt would have no effect.",
        ),
        (
            {"eta": 0.5, "scheduler": "euler"},
            "eta=0.5 is not allowed. eta is 0 for euler. It has an effect for ddim",
        ),
        (
            {"num_images_per_prompt": 0},
            "num_images_per_prompt=0 is not allowed. "
            "num_images_per_prompt is a whole number from 1 to 1000.",
        ),
        (
            {"clip_skip": 3},
            "clip_skip=3 is not allowed. clip_skip is a whole number from 0 to 2.",
        ),
        (
            {"clip_skip": "1"},
            "clip_skip='1' is not allowed. clip_skip is a whole number.",
        ),
        (
            {"clip_skip": 1, "prompt": None, "prompt_embeds": np.zeros((77, 768), np.float32)},
            "clip_skip=1 is not allowed. clip_skip is 0 where prompt_embeds is given.",
        ),
        (
            {"prompt": []},
            "prompt=[] is not allowed. prompt is a text, or a sequence of at least one text.",
        ),
        (
            {"prompt": None},
            "prompt=None is not allowed. prompt is a text, or a sequence of at least one text.",
        ),
        ({"prompt": [3]}, "prompt=3 is not allowed. prompt is a text."),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        ask(**options)
    assert str(caught.value).startswith(message)
    assert caught.value.http_status == 400


def test_without_layers_to_choose_from_clip_skip_is_refused() -> None:
    rules = replace(RULES, max_clip_skip=0)
    with pytest.raises(RequestError) as caught:
        rules.request("a cat", {"clip_skip": 1})
    assert str(caught.value) == (
        "clip_skip=1 is not allowed. clip_skip is 0 for this bundle, whose text encoders offer "
        "their last layer only. Export the checkpoint again with this version of sdopt."
    )


def test_an_unknown_option_is_a_type_error_with_the_nearest_name() -> None:
    with pytest.raises(TypeError, match="Unknown option 'steps'"):
        ask(steps=3)
    with pytest.raises(TypeError, match="Did you mean 'guidance_scale'"):
        ask(guidance=3)
