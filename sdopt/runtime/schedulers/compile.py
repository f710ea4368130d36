"""From configuration and options to a plan: the solver is run on unit vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Unpack

import numpy as np

from sdopt.errors import InvalidValueError, UnknownSchedulerError
from sdopt.runtime.schedulers.config import SchedulerConfig, read_config
from sdopt.runtime.schedulers.levels import Level
from sdopt.runtime.schedulers.names import Choice, find_scheduler, public_name, scheduler_names
from sdopt.runtime.schedulers.options import PlanKeywords, PlanOptions
from sdopt.runtime.schedulers.plan import FloatArray, Plan
from sdopt.runtime.schedulers.prediction import predict
from sdopt.runtime.schedulers.refusals import refuse_contradictions, refuse_what_has_no_effect
from sdopt.runtime.schedulers.schedule import Schedule, kept_stages
from sdopt.runtime.schedulers.solvers.stage import Stage
from sdopt.runtime.schedulers.spec import SchedulerSpec
from sdopt.runtime.schedulers.table_grids import distilled_timesteps


def compile_plan(
    config: Mapping[str, object],
    num_inference_steps: int | None = None,
    *,
    scheduler: str | None = None,
    **options: Unpack[PlanKeywords],
) -> Plan:
    """Compile a scheduler into the table that the denoising loop follows.

    Args:
        config: The contents of a scheduler_config.json, read as diffusers' ``from_config`` does:
            what is missing takes the default of the scheduler's class.
        num_inference_steps: Steps of the full schedule, 1 to 1000; None where ``timesteps`` or
            ``sigmas`` are given.
        scheduler: Public name (``dpmpp_2m_karras``), web-UI name or diffusers class name; the
            config's own ``_class_name`` where None.
        **options: The other fields of ``PlanOptions``, such as ``strength=0.5`` and ``eta=1.0``.

    Returns:
        A new plan of read-only float64 arrays.

    Raises:
        InvalidValueError: A request's value is outside what is allowed, or has no effect.
        UnknownSchedulerError: No scheduler has this name.
        UnsupportedSchedulerConfigError: A known setting of the config has an unsupported value.
    """
    asked = PlanOptions(num_inference_steps=num_inference_steps, **options)
    spec, forced = _choose(config, scheduler)
    refuse_what_has_no_effect(spec, asked)
    settings = read_config(spec.class_name, config, forced)
    refuse_contradictions(settings, asked)
    try:
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            plan = _tabulate(spec, settings, spec.grid(settings, asked), asked)
    except ArithmeticError:
        raise _coinciding_levels(spec, asked) from None
    if not np.isfinite(plan.updates).all():
        raise _coinciding_levels(spec, asked)
    return plan


def shortened_timesteps(
    config: Mapping[str, object], steps: int, strength: float, scheduler: str | None = None
) -> list[int] | None:
    """Return the timesteps with which image to image runs all its steps in a share of the schedule.

    Args:
        config: As for :func:`compile_plan`.
        steps: That are run.
        strength: The share, in (0, 1].
        scheduler: As for :func:`compile_plan`.

    Returns:
        As many as there are steps, falling; None for schedulers of models that were not distilled
        on certain timesteps.

    Raises:
        InvalidValueError: The share has fewer timesteps.
        UnknownSchedulerError: No scheduler has this name.
    """
    spec, forced = _choose(config, scheduler)
    if not spec.distilled:
        return None
    return distilled_timesteps(read_config(spec.class_name, config, forced), steps, strength)


def _choose(config: Mapping[str, object], scheduler: str | None) -> Choice:
    name = config.get("_class_name") if scheduler is None else scheduler
    if not isinstance(name, str):
        raise UnknownSchedulerError(str(name), scheduler_names())
    return find_scheduler(name)


def _tabulate(
    spec: SchedulerSpec, config: SchedulerConfig, schedule: Schedule, options: PlanOptions
) -> Plan:
    run = _Run(spec, config, schedule, options, 1 + spec.history(config))
    kept = kept_stages(schedule, config, options)
    stages = [_tabulate_stage(run, index) for index in range(kept)]
    scales = [_add_noise_scales(spec, level) for level in schedule.levels]
    last = schedule.moves[-1][1]
    return Plan(
        name=public_name(spec, config),
        timesteps=np.array(schedule.timesteps[:kept]),
        inputs=np.stack([stage.inputs for stage in stages]),
        updates=np.stack([stage.update for stage in stages]),
        denoised=np.stack([stage.denoised for stage in stages]),
        noisy=np.array([stage.noisy for stage in stages]),
        start=np.array(_start(scales[0], schedule, options)),
        renoise=np.array([*scales[1:], (1.0, 0.0)][:kept]),
        sigmas=np.array([level.sigma for level in (*schedule.levels, last)][: kept + 1]),
    )


class _Run(NamedTuple):
    spec: SchedulerSpec
    config: SchedulerConfig
    schedule: Schedule
    options: PlanOptions
    rows: int


class _StageTable(NamedTuple):
    inputs: FloatArray
    update: FloatArray
    denoised: FloatArray
    noisy: bool


def _tabulate_stage(run: _Run, index: int) -> _StageTable:
    """Run the solver on the unit vectors of state, model output and noise.

    Whatever it returns is then a combination of them, and its coefficients are its components.
    """
    *state, model_output, noise = np.eye(run.rows + 2)
    level = run.schedule.levels[index]
    sample = level.alpha * state[0] if run.spec.latents == "ve" else state[0]
    prediction = predict(run.config.prediction_type, sample, model_output, level)
    stage = Stage(index, run.schedule, run.config, run.options, model_output, prediction)
    draws: list[FloatArray] = []

    def draw() -> FloatArray:
        draws.append(noise)
        return noise

    update = np.stack(run.spec.solver(stage, tuple(state), draw))
    denoised = prediction.x0[: run.rows + 1]
    return _StageTable(sample[: run.rows], update, denoised, bool(draws))


def _add_noise_scales(spec: SchedulerSpec, level: Level) -> tuple[float, float]:
    """Return the factors of image and noise that put an image on a level."""
    return (level.alpha, level.s) if spec.latents == "vp" else (1.0, level.sigma)


def _start(
    first: tuple[float, float], schedule: Schedule, options: PlanOptions
) -> tuple[float, float]:
    """Return the factors of the first latents; latents that are taken over stay as they are."""
    if options.denoising_start is not None:
        return (1.0, 0.0)
    return (0.0, schedule.init_noise_sigma) if options.starts_from_noise else first


def _coinciding_levels(spec: SchedulerSpec, options: PlanOptions) -> InvalidValueError:
    return InvalidValueError(
        "num_inference_steps",
        options.steps,
        f"a number for which the noise levels of {spec.name} differ",
        "With this scheduler_config.json some coincide, and the solver would divide by zero: lower "
        'the number, or set "final_sigmas_type": "zero"',
    )
