"""Schedules that are lists of sigmas, each stage moving to the next one."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from sdopt.runtime.schedulers.config import SchedulerConfig
from sdopt.runtime.schedulers.levels import Level, training_sigmas
from sdopt.runtime.schedulers.options import PlanOptions
from sdopt.runtime.schedulers.plan import FloatArray
from sdopt.runtime.schedulers.schedule import Schedule, check_steps, skipped_stages
from sdopt.runtime.schedulers.spacing import (
    flow_sigmas,
    respaced_sigmas,
    spaced_timesteps,
    spaced_timesteps_before_zero,
    timesteps_of,
)


class _Sigmas(NamedTuple):
    timesteps: FloatArray
    """(stages,)"""
    sigmas: FloatArray
    """(stages + 1,)"""


def sigma_grid(config: SchedulerConfig, options: PlanOptions) -> Schedule:
    """Sigmas at unrounded timesteps; respaced sigmas keep the ends of the spaced ones."""
    return _exploding(_spaced(config, options), config, options)


def heun_grid(config: SchedulerConfig, options: PlanOptions) -> Schedule:
    """Every sigma but the first twice: the end of one step, and the start of the next."""
    spaced = _spaced(config, options)
    twice = _Sigmas(
        np.repeat(spaced.timesteps, 2)[1:],
        np.append(np.repeat(spaced.sigmas[:-1], 2)[1:], spaced.sigmas[-1]),
    )
    return _exploding(twice, config, options, stages_per_step=2)


def kdpm2_grid(config: SchedulerConfig, options: PlanOptions) -> Schedule:
    """Between two sigmas their geometric mean."""
    return _with_middles(config, options, ancestral=False)


def kdpm2_ancestral_grid(config: SchedulerConfig, options: PlanOptions) -> Schedule:
    """Between a sigma and the next the geometric mean of it and the ancestral target."""
    return _with_middles(config, options, ancestral=True)


def dpm_grid(config: SchedulerConfig, options: PlanOptions) -> Schedule:
    """Sigmas at whole timesteps above 0; respaced sigmas span the whole training range."""
    check_steps(config, options)
    table = training_sigmas(config)
    timesteps, sigmas = _before_zero(config, options, table)
    final = _final_sigma(config, table)
    if final > 0 and config.sigma_spacing and config.class_name in _REPEATS_LAST:
        final = float(sigmas[-1])
    return _schedule(_Sigmas(timesteps, np.append(sigmas, final)), 1.0, config, options)


def _before_zero(config: SchedulerConfig, options: PlanOptions, table: FloatArray) -> _Sigmas:
    """Return N timesteps and, other than elsewhere, N sigmas."""
    steps, train_steps = options.steps, config.num_train_timesteps
    if config.sigma_spacing == "flow":
        sigmas = flow_sigmas(train_steps, steps, config.flow_shift, config.class_name in _FROM_1)
        return _Sigmas(np.floor(sigmas * train_steps), sigmas)
    if config.sigma_spacing:
        sigmas = _respaced(config, float(table[0]), float(table[-1]), steps)
        return _Sigmas(_whole(timesteps_of(sigmas, table), config), sigmas)
    if options.timesteps is not None:
        timesteps = np.array(options.timesteps, np.float64)
    else:
        clipped = int(np.searchsorted(-np.log(table[::-1]), config.lambda_min_clipped))
        timesteps = spaced_timesteps_before_zero(
            config.timestep_spacing, train_steps, train_steps - clipped, steps, config.steps_offset
        )
    return _Sigmas(timesteps, np.interp(timesteps, np.arange(train_steps), table))


_FROM_1 = ("UniPCMultistepScheduler",)
"""Classes whose sigmas for flow matching start a millionth below 1, not at 1 - 1 / T."""

_REPEATS_LAST = ("DEISMultistepScheduler", "UniPCMultistepScheduler")
"""Classes whose respaced sigmas, unless they go to 0, end in the last one twice."""


def _whole(timesteps: FloatArray, config: SchedulerConfig) -> FloatArray:
    """Round (karras, lu) or cut off (exponential, beta) to whole timesteps, as diffusers does."""
    cosine = config.beta_schedule == "squaredcos_cap_v2"
    unrounded = cosine and config.class_name == "DPMSolverMultistepScheduler"
    if config.sigma_spacing in ("karras", "lu") and not unrounded:
        return timesteps.round()
    return np.floor(timesteps)


def _spaced(config: SchedulerConfig, options: PlanOptions) -> _Sigmas:
    check_steps(config, options)
    table = training_sigmas(config)
    timesteps, sigmas = _given(options, table) or _chosen(config, options, table)
    if config.timestep_type == "continuous" and config.prediction_type == "v_prediction":
        timesteps = 0.25 * np.log(sigmas[:-1])
    return _Sigmas(timesteps, sigmas)


def _given(options: PlanOptions, table: FloatArray) -> _Sigmas | None:
    if options.sigmas is None:
        return None
    sigmas = np.array(options.sigmas, np.float64)
    return _Sigmas(timesteps_of(sigmas[:-1], table), sigmas)


def _chosen(config: SchedulerConfig, options: PlanOptions, table: FloatArray) -> _Sigmas:
    steps, train_steps = options.steps, config.num_train_timesteps
    if options.timesteps is not None:
        timesteps = np.array(options.timesteps, np.float64)
    else:
        timesteps = spaced_timesteps(
            config.timestep_spacing, train_steps, steps, config.steps_offset
        )
    sigmas = np.interp(timesteps, np.arange(train_steps), table)
    if config.interpolation_type == "log_linear":
        sigmas = np.exp(np.linspace(np.log(table[-1]), np.log(table[0]), steps + 1))
    if config.sigma_spacing:
        sigmas = _respaced(config, float(sigmas[-1]), float(sigmas[0]), steps)
        timesteps = timesteps_of(sigmas, table)
    return _Sigmas(timesteps, np.append(sigmas, _final_sigma(config, table))[: steps + 1])


def _respaced(config: SchedulerConfig, low: float, high: float, steps: int) -> FloatArray:
    low = low if config.sigma_min is None else config.sigma_min
    high = high if config.sigma_max is None else config.sigma_max
    return respaced_sigmas(config.sigma_spacing, low, high, steps)


def _final_sigma(config: SchedulerConfig, table: FloatArray) -> float:
    return float(table[0]) if config.final_sigmas_type == "sigma_min" else 0.0


def _with_middles(config: SchedulerConfig, options: PlanOptions, *, ancestral: bool) -> Schedule:
    timesteps, sigmas = _spaced(config, options)
    if config.sigma_spacing == "karras":
        timesteps = timesteps.round()
    now, then = sigmas[:-2], sigmas[1:-1]
    middles = np.sqrt(now * (then**2 / now if ancestral else then))
    middle_timesteps = timesteps_of(middles, training_sigmas(config))
    mixed = _Sigmas(
        np.append(np.stack([timesteps[:-1], middle_timesteps], axis=1).ravel(), timesteps[-1]),
        np.concatenate([np.stack([now, middles], axis=1).ravel(), sigmas[-2:]]),
    )
    return _exploding(mixed, config, options, stages_per_step=2)


def _exploding(
    grid: _Sigmas, config: SchedulerConfig, options: PlanOptions, stages_per_step: int = 1
) -> Schedule:
    """Build a schedule whose latents start at the scale of the highest sigma."""
    highest = float(grid.sigmas.max())
    scale = math.hypot(highest, 1) if config.timestep_spacing == "leading" else highest
    return _schedule(grid, scale, config, options, stages_per_step)


def _schedule(
    grid: _Sigmas,
    init_noise_sigma: float,
    config: SchedulerConfig,
    options: PlanOptions,
    stages_per_step: int = 1,
) -> Schedule:
    timesteps = tuple(float(t) for t in grid.timesteps)
    cut = skipped_stages(timesteps, config, options, stages_per_step)
    level = Level.from_flow if config.sigma_spacing == "flow" else Level.from_sigma
    levels = [level(float(sigma)) for sigma in grid.sigmas[cut:]]
    return Schedule(
        timesteps=timesteps[cut:],
        levels=tuple(levels[:-1]),
        moves=tuple(pairwise(levels)),
        init_noise_sigma=init_noise_sigma,
        full_steps=len(timesteps) // stages_per_step + (stages_per_step - 1),
        skipped=cut // stages_per_step,
    )
