"""Checks of a request's prompts: texts, or what was encoded elsewhere, never both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sdopt.errors import InvalidValueError
from sdopt.runtime.prompt_embeds import EmbedsRule, Prompt
from sdopt.runtime.prompt_syntax import parse_prompt


class Encoded(NamedTuple):
    """An encoded prompt as a request gives it, not checked yet.

    Attributes:
        embeds: (length, dim) float32, or None where it gives a text.
        pooled: (pooled dim,) float32, or None.
    """

    embeds: object
    pooled: object = None


def choose_prompts(prompt: object, encoded: Encoded, rule: EmbedsRule) -> tuple[Prompt, ...]:
    """Return what a request gave: one text or several, or one encoded prompt.

    Raises:
        InvalidValueError: Both or neither were given, or one that cannot be used.
    """
    if encoded.embeds is None:
        rule.refuse_pooled("prompt_embeds", encoded.pooled)
        return check_prompts(prompt)
    if prompt is not None:
        raise InvalidValueError("prompt", prompt, "not given where prompt_embeds is")
    return (rule.check("prompt_embeds", *encoded),)


def choose_negative(
    text: object, encoded: Encoded, rule: EmbedsRule, *, default: Prompt, guidance_scale: float
) -> Prompt:
    """Return a request's negative prompt; where it gives none, the default, if guidance is on.

    Raises:
        InvalidValueError: Both were given, one that cannot be used, or one without guidance.
    """
    guided, embeds = guidance_scale > 1, encoded.embeds
    if embeds is None:
        rule.refuse_pooled("negative_prompt_embeds", encoded.pooled)
    if text is None and embeds is None:
        return default if guided else ""
    if embeds is None:
        negative: Prompt = check_text("negative_prompt", text)
    elif text is None:
        negative = rule.check("negative_prompt_embeds", *encoded)
    else:
        raise InvalidValueError(
            "negative_prompt", text, "not given where negative_prompt_embeds is"
        )
    if negative and not guided:
        name = "negative_prompt" if embeds is None else "negative_prompt_embeds"
        hint = "Without guidance a negative prompt would have no effect"
        raise InvalidValueError(
            "guidance_scale", guidance_scale, f"above 1 where {name} is given", hint
        )
    return negative


def refuse_negative(text: object, encoded: Encoded) -> None:
    """Refuse a negative prompt where guidance was distilled into the UNet.

    Raises:
        InvalidValueError: One is given.
    """
    for name, value in (
        ("negative_prompt", text or None),
        ("negative_prompt_embeds", encoded.embeds),
        ("negative_pooled_prompt_embeds", encoded.pooled),
    ):
        if value is not None:
            raise InvalidValueError(
                name,
                value if isinstance(value, str) else type(value).__name__,
                "not given with this model",
                "Its UNet was distilled with guidance away from an empty prompt, once and for all",
            )


def check_prompts(prompt: object) -> tuple[str, ...]:
    """Return one prompt, or several, as a tuple.

    Raises:
        InvalidValueError: It is neither a text nor a non-empty sequence of texts.
    """
    prompts = (prompt,) if isinstance(prompt, str) else prompt
    if not isinstance(prompts, Sequence) or not prompts:
        raise InvalidValueError("prompt", prompt, "a text, or a sequence of at least one text")
    return tuple(check_text("prompt", text) for text in prompts)


def check_text(name: str, value: object) -> str:
    """Return a text as it is, if it is one that can be encoded.

    Raises:
        InvalidValueError: It is no text, no Unicode, or holds a weight that is out of range.
    """
    if not isinstance(value, str):
        raise InvalidValueError(name, value, "a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidValueError(name, value, "Unicode text without lone surrogates") from error
    parse_prompt(value, name)
    return value
