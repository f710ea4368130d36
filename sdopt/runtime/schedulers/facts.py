"""What there is to know about each scheduler, read off its plans wherever a plan can tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sdopt.runtime.schedulers.compile import compile_plan
from sdopt.runtime.schedulers.config import read_config
from sdopt.runtime.schedulers.plan import Plan
from sdopt.runtime.schedulers.registry import SCHEDULERS
from sdopt.runtime.schedulers.settings import CLASS_SETTINGS
from sdopt.runtime.schedulers.spec import Option, SchedulerSpec

SD1_CONFIG: Mapping[str, object] = {
    "_class_name": "PNDMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "clip_sample": False,
}
"""Stable Diffusion 1.x's own scheduler_config.json."""

Noise = Literal["none", "every step", "with eta"]
"""When fresh noise is drawn beside the start noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerFacts:
    """One scheduler, for people.

    Attributes:
        name: Public name.
        class_name: Its class in diffusers, whose name is understood too.
        other_names: What else it may be called by, as people write it.
        evaluations: Evaluations of the model for N steps, such as ``"2N - 1"``.
        order: Of the method once its history is full.
        noise: When it draws fresh noise.
        options: Options of a request that have an effect here and not everywhere.
        sigma_spacings: What its name may end in, such as ``karras`` for ``euler_karras``.
        summary: What it is good for.
    """

    name: str
    class_name: str
    other_names: tuple[str, ...]
    evaluations: str
    order: int
    noise: Noise
    options: tuple[Option, ...]
    sigma_spacings: tuple[str, ...]
    summary: str


def scheduler_facts() -> tuple[SchedulerFacts, ...]:
    """Describe every scheduler, as it is with Stable Diffusion 1.x's configuration."""
    return tuple(_facts(spec) for spec in SCHEDULERS)


def _facts(spec: SchedulerSpec) -> SchedulerFacts:
    plans = [compile_plan(SD1_CONFIG, steps, scheduler=spec.name) for steps in (10, 11)]
    return SchedulerFacts(
        name=spec.name,
        class_name=spec.class_name,
        other_names=spec.aliases,
        evaluations=_evaluations(plans[0].stages, plans[1].stages),
        order=_order(spec),
        noise=_noise(spec, plans[0]),
        options=spec.honours,
        sigma_spacings=spec.suffixes,
        summary=spec.summary,
    )


def _evaluations(for_10: int, for_11: int) -> str:
    """Write the straight line through the evaluations for 10 and for 11 steps."""
    per_step = for_11 - for_10
    extra = for_10 - 10 * per_step
    steps = "N" if per_step == 1 else f"{per_step}N"
    return f"{steps} {'+' if extra > 0 else '-'} {abs(extra)}" if extra else steps


def _order(spec: SchedulerSpec) -> int:
    if "solver_order" not in CLASS_SETTINGS[spec.class_name]:
        return spec.order
    return read_config(spec.class_name, SD1_CONFIG, spec.forced).solver_order


def _noise(spec: SchedulerSpec, plan: Plan) -> Noise:
    if plan.noise_draws:
        return "every step"
    return "with eta" if "eta" in spec.honours else "none"
