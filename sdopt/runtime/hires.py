"""The two-pass "hires fix": a small picture first, enlarged, and its details drawn anew.

Options and their meaning are those of the AUTOMATIC1111 web UI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from sdopt.errors import InvalidValueError, UnknownNameError
from sdopt.runtime.enlarging import UPSCALERS
from sdopt.runtime.image_request import ImageRequest
from sdopt.runtime.request import GenerationRequest
from sdopt.runtime.request_checks import whole_number
from sdopt.runtime.request_options import RequestOptions
from sdopt.runtime.request_rules import RequestRules
from sdopt.runtime.schedulers.numbers import check_number, real
from sdopt.runtime.second_pass import HIRES_OPTIONS, SecondPass


def hires_request(
    rules: RequestRules, prompt: str | Sequence[str] | None, options: RequestOptions
) -> GenerationRequest:
    """Check a request with ``hr_scale``, and fill in its defaults.

    Raises:
        RequestError: A value is not allowed; the message says what is.
        TypeError: There is no option of this name.
    """
    rest: dict[str, Any] = {k: v for k, v in options.items() if k not in HIRES_OPTIONS}
    for name in _NOT_BESIDE:
        if rest.get(name) is not None:
            raise InvalidValueError(name, "given", "not given where hr_scale is")
    first = rules.request(prompt, cast("RequestOptions", rest))
    settings = _settings(options, first.num_inference_steps)
    size = _size(first, settings["hr_scale"], rules.size_multiple)
    steps, strength = _share(settings["hr_second_pass_steps"], settings["hr_strength"])
    again = rest | {"num_inference_steps": steps, "seed": first.seed}
    if first.variation is not None:
        again["subseed"] = first.variation.subseed
    second = rules.request_from(
        prompt,
        cast("RequestOptions", again),
        size,
        ImageRequest(
            task="image_to_image", picture=None, strength=strength, overlay=None, settings={}
        ),
    )
    upscaler = settings["hr_upscaler"]
    return replace(first, second=SecondPass(request=second, settings=settings, upscaler=upscaler))


_NOT_BESIDE = ("image", "mask_image", "timesteps", "sigmas", "denoising_start", "denoising_end")
_DEFAULT_STRENGTH = 0.7
_LARGEST_SCALE = 8
_MOST_STEPS = 1000


def _settings(options: Mapping[str, Any], first_steps: int) -> dict[str, Any]:
    scale = options["hr_scale"]
    allowed = f"a number above 1 and up to {_LARGEST_SCALE}"
    check_number("hr_scale", scale, 1 < real(scale) <= _LARGEST_SCALE, allowed)
    strength = options.get("hr_strength", _DEFAULT_STRENGTH)
    check_number("hr_strength", strength, 0 < real(strength) <= 1, "a number above 0 and up to 1")
    steps = options.get("hr_second_pass_steps")
    return {
        "hr_scale": float(scale),
        "hr_upscaler": _upscaler(options.get("hr_upscaler", UPSCALERS[0])),
        "hr_strength": float(strength),
        "hr_second_pass_steps": first_steps if steps is None else _steps(steps),
    }


def _upscaler(name: object) -> str:
    """Return an upscaler's name; the web UI's "Latent (nearest-exact)" is one, too."""
    words = "".join(c if c.isalnum() else " " for c in str(name).casefold()).split()
    if "_".join(words) not in UPSCALERS:
        raise UnknownNameError("hr_upscaler", str(name), UPSCALERS)
    return "_".join(words)


def _steps(value: object) -> int:
    allowed = f"a whole number from 1 to {_MOST_STEPS}"
    steps = whole_number("hr_second_pass_steps", value, allowed)
    check_number("hr_second_pass_steps", steps, 1 <= steps <= _MOST_STEPS, allowed)
    return steps


def _size(first: GenerationRequest, scale: float, multiple: int) -> tuple[int, int]:
    height, width = (
        int(side * scale) // multiple * multiple for side in (first.height, first.width)
    )
    return height, width


def _share(steps: int, strength: float) -> tuple[int, float]:
    """Return the schedule's steps and the strength with which the last ``steps`` of them are run.

    The web UI takes the second pass's steps for those that are run, of a schedule that is longer.
    """
    full = int(steps / min(strength, 0.999))
    if full > _MOST_STEPS:
        allowed = f"at least {steps / _MOST_STEPS:g} with {steps} steps"
        hint = f"They are the end of a schedule that may have {_MOST_STEPS} at most"
        raise InvalidValueError("hr_strength", strength, allowed, hint)
    return full, min((steps + 0.5) / full, 1.0)
