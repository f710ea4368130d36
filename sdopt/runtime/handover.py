"""Base and refiner as one request: the refiner takes the latents over at a share of the schedule.

An ensemble of expert denoisers (arXiv:2211.01324), as SDXL was published with
(arXiv:2307.01952, section 2.5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from sdopt.errors import InvalidValueError
from sdopt.runtime.image_request import ImageRequest
from sdopt.runtime.micro_conditioning import option_names
from sdopt.runtime.request import GenerationRequest
from sdopt.runtime.request_options import RequestOptions, refuse_unknown
from sdopt.runtime.request_rules import RequestRules
from sdopt.runtime.schedulers import find_scheduler
from sdopt.runtime.schedulers.numbers import check_number, real
from sdopt.runtime.second_pass import SecondPass

DEFAULT_HANDOVER = 0.8
"""Of the schedule; the refiner was trained on the last 200 of 1000 timesteps."""


def check_refiner(base: RequestRules, refiner: RequestRules) -> None:
    """Refuse a model that cannot go on with the latents of another.

    Raises:
        InvalidValueError: The message says why.
    """
    if refiner.family.task == "inpainting":
        hint = "Its UNet takes a mask beside the latents"
        allowed = "a model for pictures without a mask"
        raise InvalidValueError("refiner", refiner.family.title, allowed, hint)
    if (given := _latents(refiner)) != (wanted := _latents(base)):
        raise InvalidValueError(
            "refiner", _described(given), f"a model with the base's latents, {_described(wanted)}"
        )


def handover_request(
    base: RequestRules,
    refiner: RequestRules,
    prompt: str | Sequence[str] | None,
    options: RequestOptions,
) -> GenerationRequest:
    """Check a request that a base begins and a refiner ends, and fill in its defaults.

    Both get what was asked for, each as far as it takes it (sizes and scores), and the same share
    of the same number of steps.

    Raises:
        RequestError: A value is not allowed; the message says what is.
        TypeError: There is no option of this name.
    """
    refuse_unknown(options)
    _refuse_beside_a_refiner(options)
    share = options.get("handover", DEFAULT_HANDOVER)
    check_number("handover", share, 0 < real(share) < 1, "a number between 0 and 1")
    given = {name: value for name, value in options.items() if name != "handover"}
    first = base.request(prompt, _taken(given, base, refiner) | {"denoising_end": share})
    ours = {name: value for name, value in given.items() if name not in _FIRST_ALONE}
    ours |= {"denoising_start": share, "seed": first.seed}
    if "timesteps" not in given and "sigmas" not in given:
        ours["num_inference_steps"] = first.num_inference_steps
    second = refiner.request_from(
        list(first.prompts),  # type: ignore[arg-type]
        _taken(ours, refiner, base),
        (first.height, first.width),
        _LATENTS_OF_THE_BASE,
    )
    _check_scales(first, second)
    return replace(first, schedule=_without_end(first), second=_second(second, share))


_LATENTS_OF_THE_BASE = ImageRequest(
    task="image_to_image", picture=None, strength=1.0, overlay=None, settings={}
)
_FIRST_ALONE = (
    "image",
    "strength",
    "height",
    "width",
    "output_type",
    "subseed",
    "subseed_strength",
)
_NOT_BESIDE = (
    "mask_image",
    "prompt_embeds",
    "negative_prompt_embeds",
    "denoising_start",
    "denoising_end",
    "hr_scale",
)


def _refuse_beside_a_refiner(options: Mapping[str, object]) -> None:
    for name in _NOT_BESIDE:
        if (value := options.get(name)) is not None:
            shown = value if isinstance(value, float) else "given"
            raise InvalidValueError(name, shown, "not given where a refiner is loaded")


def _taken(options: Mapping[str, Any], rules: RequestRules, other: RequestRules) -> RequestOptions:
    """Leave out what the other model alone is told about the picture."""
    mine, theirs = (set(option_names(each.family.time_ids)) for each in (rules, other))
    return cast(
        "RequestOptions",
        {name: value for name, value in options.items() if name not in theirs - mine},
    )


def _check_scales(first: GenerationRequest, second: GenerationRequest) -> None:
    """Refuse schedulers that scale noisy latents differently."""
    ours, theirs = (find_scheduler(each.plan.name).spec.latents for each in (second, first))
    if ours != theirs:
        raise InvalidValueError(
            "scheduler",
            second.plan.name,
            f"one that scales latents as the base's {first.plan.name} does",
            "Give scheduler, which both then use",
        )


def _without_end(first: GenerationRequest) -> Any:
    settings = {k: v for k, v in first.schedule.settings.items() if k != "denoising_end"}
    return replace(first.schedule, settings=settings)


def _second(request: GenerationRequest, share: float) -> SecondPass:
    micro = {} if request.micro is None else request.micro.settings()
    return SecondPass(request=request, settings={**micro, "handover": share})


def _latents(rules: RequestRules) -> tuple[int, int, float, object]:
    steps = rules.scheduler.get("num_train_timesteps", 1000)
    return rules.latent_channels, rules.size_multiple, rules.scaling_factor, steps


def _described(latents: tuple[int, int, float, object]) -> str:
    channels, factor, scaling, steps = latents
    return f"{channels} channels, 1/{factor} of the size, scaled by {scaling:g}, {steps} timesteps"
