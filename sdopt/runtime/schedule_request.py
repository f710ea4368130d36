"""The part of a request that decides its plan: scheduler, steps, noise on the way, hand-over."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from sdopt.errors import InvalidValueError
from sdopt.runtime.schedulers import (
    Churn,
    Plan,
    PlanOptions,
    Task,
    compile_plan,
    shortened_timesteps,
)
from sdopt.runtime.schedulers.numbers import real
from sdopt.runtime.schedulers.options import PlanKeywords


class ScheduleOptions(TypedDict, total=False):
    """What can be said of a picture's way from noise.

    Attributes:
        num_inference_steps: 1 to 1000. Default: the bundle's.
        scheduler: A public name or a diffusers class name. Default: the bundle's own.
        eta: 0 to 1, share of fresh noise, for schedulers that take it. Default 0.
        timesteps: Training timesteps to go through, falling, in place of ``num_inference_steps``,
            for schedulers that take them.
        sigmas: Sigmas to go through, falling, with the one that the run ends on; likewise.
        s_churn: Noise that the scheduler ``euler`` adds before its steps, in all. Default 0.
        s_tmin: Lowest sigma at which it is added; with ``s_churn``. Default 0.
        s_tmax: Highest sigma at which it is added. Default: no limit.
        s_noise: Standard deviation of that noise. Default 1.
        denoising_start: Share of the schedule, between 0 and 1, that another model has done; with
            its latents as ``image``, to which no noise is added.
        denoising_end: Share of the schedule after which another model goes on.
    """

    num_inference_steps: int
    scheduler: str | None
    eta: float
    timesteps: Sequence[int] | None
    sigmas: Sequence[float] | None
    s_churn: float
    s_tmin: float
    s_tmax: float
    s_noise: float
    denoising_start: float | None
    denoising_end: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRequest:
    """A picture's way from noise, checked.

    Attributes:
        plan: Its scheduler, compiled.
        num_inference_steps: Of the full schedule.
        settings: What it was compiled from, as JSON data.
    """

    plan: Plan
    num_inference_steps: int
    settings: Mapping[str, object]


def schedule_request(
    options: Mapping[str, Any],
    config: Mapping[str, object],
    *,
    default_steps: int,
    task: Task,
    strength: float,
    shortens: bool = False,
) -> ScheduleRequest:
    """Compile what a request says of its schedule.

    Args:
        options: The request's, of which those of :class:`ScheduleOptions` are read.
        config: The bundle's ``scheduler_config.json``.
        default_steps: Where the request does not say.
        task: How the first latents are made.
        strength: Share of the schedule to run.
        shortens: Whether all steps are run within that share; else those outside are left out.

    Raises:
        RequestError: A value is not allowed, or would have no effect.
    """
    custom = {name: _listed(options[name]) for name in _CUSTOM if options.get(name) is not None}
    steps = options.get("num_inference_steps", None if custom else default_steps)
    eta = options.get("eta", 0.0)
    ends = {name: options[name] for name in _ENDS if options.get(name) is not None}
    keywords = PlanKeywords(eta=eta, task=task, strength=strength, churn=_churn(options))
    keywords.update(custom | ends)  # type: ignore[typeddict-item]
    how = custom or {"num_inference_steps": steps}
    scheduler = options.get("scheduler")
    if shortens and not custom and 0 < real(strength) < 1:
        full = PlanOptions(num_inference_steps=steps).steps
        if (timesteps := shortened_timesteps(config, full, strength, scheduler)) is not None:
            keywords["strength"], keywords["timesteps"], steps = 1.0, timesteps, None
    plan = compile_plan(config, steps, scheduler=scheduler, **keywords)
    churn = {name: options[name] for name in _CHURN if options.get(name) is not None}
    return ScheduleRequest(
        plan=plan,
        num_inference_steps=PlanOptions(num_inference_steps=steps, **keywords).steps,
        settings={**how, "scheduler": plan.name, "eta": eta, **churn, **ends},
    )


_CUSTOM = ("timesteps", "sigmas")
_CHURN = ("s_churn", "s_tmin", "s_tmax", "s_noise")
_ENDS = ("denoising_start", "denoising_end")


def _churn(options: Mapping[str, Any]) -> Churn | None:
    given = {name: options[name] for name in _CHURN if options.get(name) is not None}
    if given.get("s_churn", 0) == 0:
        for name in _CHURN[1:]:
            if name in given:
                raise InvalidValueError(name, given[name], "not given where s_churn is not")
        return None
    return Churn(**{"s_tmax": math.inf, **given})


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
