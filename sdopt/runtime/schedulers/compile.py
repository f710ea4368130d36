"""From configuration and options to a plan: the solver is run on unit vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sdopt.errors import InvalidValueError, UnknownSchedulerError
from sdopt.runtime.schedulers.config import SchedulerConfig, read_config
from sdopt.runtime.schedulers.levels import Level
from sdopt.runtime.schedulers.names import Choice, find_scheduler, public_name, scheduler_names
from sdopt.runtime.schedulers.options import PlanOptions, Task
from sdopt.runtime.schedulers.plan import FloatArray, Plan
from sdopt.runtime.schedulers.prediction import predict
from sdopt.runtime.schedulers.registry import SCHEDULERS, SchedulerSpec
from sdopt.runtime.schedulers.schedule import Schedule
from sdopt.runtime.schedulers.solvers.stage import Stage


def compile_plan(
    config: Mapping[str, object],
    num_inference_steps: int,
    *,
    scheduler: str | None = None,
    strength: float = 1.0,
    eta: float = 0.0,
    task: Task | None = None,
) -> Plan:
    """Compile a scheduler into the table that the denoising loop follows.

    Args:
        config: The contents of a scheduler_config.json, read as diffusers' ``from_config`` does:
            what is missing takes the default of the scheduler's class.
        num_inference_steps: Steps of the full schedule, 1 to 1000.
        scheduler: Public name (``dpmpp_2m_karras``), web-UI name or diffusers class name; the
            config's own ``_class_name`` where None.
        strength: Share of the schedule that an image to image run goes through, in (0, 1].
        eta: Share of fresh noise, in [0, 1], for the schedulers that have it.
        task: How the first latents are made. Where None, text to image at strength 1 and image to
            image below.

    Returns:
        A new plan of read-only float64 arrays.

    Raises:
        InvalidValueError: A request's value is outside what is allowed, or has no effect.
        UnknownSchedulerError: No scheduler has this name.
        UnsupportedSchedulerConfigError: A known setting of the config has an unsupported value.
    """
    options = PlanOptions(
        num_inference_steps=num_inference_steps,
        strength=strength,
        eta=eta,
        task=task or ("image_to_image" if strength != 1 else "text_to_image"),
    )
    spec, forced = _choose(config, scheduler)
    if eta and not spec.uses_eta:
        users = " and ".join(row.name for row in SCHEDULERS if row.uses_eta)
        raise InvalidValueError(
            "eta", eta, f"0 for {spec.name}", f"It has an effect for {users} alone"
        )
    settings = read_config(spec.class_name, config, forced)
    try:
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            plan = _tabulate(spec, settings, spec.grid(settings, options), options)
    except ArithmeticError:
        raise _coinciding_levels(spec, num_inference_steps) from None
    if not np.isfinite(plan.updates).all():
        raise _coinciding_levels(spec, num_inference_steps)
    return plan


def _choose(config: Mapping[str, object], scheduler: str | None) -> Choice:
    name = config.get("_class_name") if scheduler is None else scheduler
    if not isinstance(name, str):
        raise UnknownSchedulerError(str(name), scheduler_names())
    return find_scheduler(name)


def _tabulate(
    spec: SchedulerSpec, config: SchedulerConfig, schedule: Schedule, options: PlanOptions
) -> Plan:
    rows = 1 + spec.history(config)
    run = _Run(spec, config, schedule, options.eta, rows)
    stages = [_tabulate_stage(run, index) for index in range(len(schedule.levels))]
    scales = [_add_noise_scales(spec, level) for level in schedule.levels]
    last = schedule.moves[-1][1]
    return Plan(
        name=public_name(spec, config),
        timesteps=np.array(schedule.timesteps),
        inputs=np.stack([stage.inputs for stage in stages]),
        updates=np.stack([stage.update for stage in stages]),
        denoised=np.stack([stage.denoised for stage in stages]),
        noisy=np.array([stage.noisy for stage in stages]),
        start=np.array(_start(scales[0], schedule, options)),
        renoise=np.array([*scales[1:], (1.0, 0.0)]),
        sigmas=np.array([level.sigma for level in (*schedule.levels, last)]),
    )


class _Run(NamedTuple):
    spec: SchedulerSpec
    config: SchedulerConfig
    schedule: Schedule
    eta: float
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
    stage = Stage(index, run.schedule, run.config, run.eta, model_output, prediction)
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
    """Return the factors of the first latents; inpainting at strength 1 starts from noise alone."""
    from_noise = options.task == "text_to_image" or (
        options.task == "inpainting" and options.strength == 1
    )
    return (0.0, schedule.init_noise_sigma) if from_noise else first


def _coinciding_levels(spec: SchedulerSpec, steps: int) -> InvalidValueError:
    return InvalidValueError(
        "num_inference_steps",
        steps,
        f"a number for which the noise levels of {spec.name} differ",
        "With this scheduler_config.json some coincide, and the solver would divide by zero: lower "
        'the number, or set "final_sigmas_type": "zero"',
    )
