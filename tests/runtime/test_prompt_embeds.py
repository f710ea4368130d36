"""Prompts in a request: text or embeddings, with a default for the negative one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sdopt.bundle.manifest import Defaults
from sdopt.errors import InvalidValueError
from sdopt.runtime.prompt_embeds import EmbedsRule, PromptEmbeds
from sdopt.runtime.request import GenerationRequest
from sdopt.runtime.request_rules import RequestRules

RULES = RequestRules(
    defaults=Defaults(96, 96, num_inference_steps=50, guidance_scale=7.5),
    size_multiple=8,
    scheduler={"_class_name": "PNDMScheduler", "skip_prk_steps": True},
    embeds=EmbedsRule(77, 8),
    default_negative_prompt="blurry",
)
EMBEDS = np.arange(77 * 8, dtype=np.float32).reshape(77, 8)


def ask(prompt: Any = None, **options: Any) -> GenerationRequest:
    return RULES.request(prompt, options)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(77, 8), (1, 77, 8)])
def test_embeddings_in_place_of_text(shape: tuple[int, ...]) -> None:
    request = ask(prompt_embeds=EMBEDS.reshape(shape), negative_prompt_embeds=-EMBEDS, seed=3)
    (prompt,) = request.prompts
    assert isinstance(prompt, PromptEmbeds)
    np.testing.assert_array_equal(prompt.values, EMBEDS)
    settings = request.settings(0)
    assert settings["prompt"] is None
    assert settings["prompt_embeds"] == {"shape": [77, 8], "sha256": prompt.sha256}
    assert settings["negative_prompt"] is None
    assert settings["negative_prompt_embeds"] != settings["prompt_embeds"]


def test_embeddings_are_copied_and_compared_by_value() -> None:
    given = EMBEDS.copy()
    request = ask(prompt_embeds=given)
    assert request.prompts == ask(prompt_embeds=EMBEDS).prompts
    assert request.prompts != ask(prompt_embeds=EMBEDS + 1).prompts
    given[:] = 0
    assert isinstance(request.prompts[0], PromptEmbeds)
    np.testing.assert_array_equal(request.prompts[0].values, EMBEDS)
    assert not request.prompts[0].values.flags.writeable


@pytest.mark.parametrize(
    ("options", "negative"),
    [
        ({}, "blurry"),
        ({"negative_prompt": None}, "blurry"),
        ({"negative_prompt": ""}, ""),
        ({"negative_prompt": "dark"}, "dark"),
        ({"guidance_scale": 1}, ""),
        ({"guidance_scale": 1, "negative_prompt": ""}, ""),
    ],
)
def test_the_default_negative_prompt(options: dict[str, Any], negative: str) -> None:
    assert ask("a cat", **options).negative_prompt == negative
    assert ask("a cat", **options).settings(0)["negative_prompt"] == negative


def test_without_an_operator_the_default_is_empty() -> None:
    rules = RequestRules(defaults=RULES.defaults, size_multiple=8, scheduler=RULES.scheduler)
    assert rules.request("a cat", {}).negative_prompt == ""


_SHAPE = "is (length, 8) or (1, length, 8), where length is a multiple of 77."
_FLOAT32 = "is a float32 NumPy array. Convert it with numpy.asarray(..., dtype=numpy.float32)."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"prompt_embeds": EMBEDS[:76]},
            f"prompt_embeds.shape=(76, 8) is not allowed. prompt_embeds.shape {_SHAPE}",
        ),
        (
            {"prompt_embeds": EMBEDS[:0]},
            f"prompt_embeds.shape=(0, 8) is not allowed. prompt_embeds.shape {_SHAPE}",
        ),
        (
            {"prompt_embeds": EMBEDS.T},
            f"prompt_embeds.shape=(8, 77) is not allowed. prompt_embeds.shape {_SHAPE}",
        ),
        (
            {"prompt_embeds": np.stack([EMBEDS, EMBEDS])},
            f"prompt_embeds.shape=(2, 77, 8) is not allowed. prompt_embeds.shape {_SHAPE}",
        ),
        (
            {"prompt_embeds": EMBEDS.astype(np.float16)},
            f"prompt_embeds=<float16> is not allowed. prompt_embeds {_FLOAT32}",
        ),
        (
            {"prompt_embeds": [[1.0]]},
            f"prompt_embeds=<list> is not allowed. prompt_embeds {_FLOAT32}",
        ),
        (
            {"prompt_embeds": EMBEDS * np.float32(np.nan)},
            "prompt_embeds=<array with NaN or infinity> is not allowed. "
            "prompt_embeds is finite everywhere.",
        ),
        (
            {"prompt": "a cat", "prompt_embeds": EMBEDS},
            "prompt='a cat' is not allowed. prompt is not given where prompt_embeds is.",
        ),
        (
            {"prompt": "a", "negative_prompt": "b", "negative_prompt_embeds": EMBEDS},
            "negative_prompt='b' is not allowed. "
            "negative_prompt is not given where negative_prompt_embeds is.",
        ),
        (
            {"prompt": "a", "negative_prompt_embeds": EMBEDS, "guidance_scale": 1},
            "guidance_scale=1.0 is not allowed. guidance_scale is above 1 where "
            "negative_prompt_embeds is given. Without guidance a negative prompt would have "
            "no effect.",
        ),
        (
            {"prompt": "a \ud800 b"},
            "prompt='a \\ud800 b' is not allowed. prompt is Unicode text without lone surrogates.",
        ),
        (
            {"prompt": "a (cat:1e9) (dog:9999)"},
            "prompt weight=9999.0 is not allowed. prompt weight is a number from -1000 to 1000. "
            "It is that of 'dog'. Write \\( for a bracket that is no weight.",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        ask(**options)
    assert str(caught.value) == message
