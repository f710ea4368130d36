"""The schedule of one run: where the model is evaluated, and where each update ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sdopt.errors import InvalidValueError
from sdopt.runtime.schedulers.config import SchedulerConfig
from sdopt.runtime.schedulers.levels import Level
from sdopt.runtime.schedulers.options import PlanOptions


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Noise levels by stage, after the cut at the start of the run; a cut at its end comes later.

    Attributes:
        timesteps: What the model is told at each stage.
        levels: The level that each stage's latents lie on.
        moves: The levels between which each stage's update moves the latents.
        detours: For solvers that first move further down than their target: how far, by stage.
        init_noise_sigma: Scale of pure noise at the start of the full schedule.
        full_steps: Steps of the full schedule; rules that depend on N mean this one.
        skipped: Steps of the full schedule that were cut off, for solvers with one stage per step
            whose order depends on them.
    """

    timesteps: tuple[float, ...]
    levels: tuple[Level, ...]
    moves: tuple[tuple[Level, Level], ...]
    detours: tuple[Level, ...] = ()
    init_noise_sigma: float
    full_steps: int
    skipped: int = 0


Grid = Callable[[SchedulerConfig, PlanOptions], Schedule]


def check_steps(config: SchedulerConfig, options: PlanOptions) -> None:
    """Refuse more steps than the checkpoint has training timesteps.

    Raises:
        InvalidValueError: There are more.
    """
    if options.steps > config.num_train_timesteps:
        raise InvalidValueError(
            "num_inference_steps",
            options.steps,
            f"at most num_train_timesteps={config.num_train_timesteps} of this checkpoint",
        )


def skipped_stages(
    timesteps: Sequence[float], config: SchedulerConfig, options: PlanOptions, per_step: int = 1
) -> int:
    """Count the stages of the full schedule that come before the start of the run.

    A run that takes over at a timestep starts with the first one below it, or, with two stages
    per step, with the step that this one ends.

    Args:
        timesteps: Of all stages.
        config: The scheduler's settings.
        options: The request's.
        per_step: Stages per step.

    Raises:
        InvalidValueError: No stage would be left.
    """
    if options.denoising_start is None:
        return options.skipped_steps * per_step
    left = len(timesteps) - _stages_from(timesteps, handover(config, options.denoising_start))
    if left == 0:
        raise _no_stage_left("denoising_start", options.denoising_start, "lower")
    return len(timesteps) - left - (per_step == 2 and left % 2 == 0)


def kept_stages(schedule: Schedule, config: SchedulerConfig, options: PlanOptions) -> int:
    """Count the stages of a schedule that come before the end of the run.

    Raises:
        InvalidValueError: There is none.
    """
    if options.denoising_end is None:
        return len(schedule.levels)
    kept = _stages_from(schedule.timesteps, handover(config, options.denoising_end))
    if kept == 0:
        raise _no_stage_left("denoising_end", options.denoising_end, "higher")
    return kept


def handover(config: SchedulerConfig, share: float) -> int:
    """Return the training timestep at which one model hands over to another."""
    return round(config.num_train_timesteps - share * config.num_train_timesteps)


def _stages_from(timesteps: Sequence[float], lowest: int) -> int:
    """Count timesteps that are not below ``lowest``; in float32, as diffusers compares them."""
    return int((np.array(timesteps, np.float32) >= lowest).sum())


def _no_stage_left(name: str, value: float, direction: str) -> InvalidValueError:
    return InvalidValueError(
        name,
        value,
        f"{direction} with this schedule",
        "None of its timesteps lies on this side of it, so no step is left to run",
    )
