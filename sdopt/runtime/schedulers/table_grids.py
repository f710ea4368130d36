"""Schedules at whole training timesteps, with levels read from the training table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from sdopt.errors import InvalidValueError
from sdopt.runtime.schedulers.config import SchedulerConfig
from sdopt.runtime.schedulers.levels import Level, alpha_bars
from sdopt.runtime.schedulers.options import PlanOptions
from sdopt.runtime.schedulers.schedule import Schedule, check_steps, skipped_stages
from sdopt.runtime.schedulers.spacing import spaced_timesteps

_CLEAN = Level.from_alpha_bar(1.0)


def ddim_grid(config: SchedulerConfig, options: PlanOptions) -> Schedule:
    """Timesteps t, each moving to t - T // N.

    That is the next timestep for leading spacing alone. diffusers does the same for the others.
    """
    timesteps = _begun(_spaced(config, options), config, options)
    table = _Table(config)
    jump = config.num_train_timesteps // options.steps
    return _schedule(timesteps, table, [(table[t], table[t - jump]) for t in timesteps], options)


def ddpm_grid(config: SchedulerConfig, options: PlanOptions) -> Schedule:
    """Timesteps t, each moving to the next one, and the last to no noise."""
    timesteps = _begun(_spaced(config, options), config, options)
    table = _Table(config)
    moves = list(pairwise([*(table[t] for t in timesteps), _CLEAN]))
    return _schedule(timesteps, table, moves, options)


def pndm_grid(config: SchedulerConfig, options: PlanOptions) -> Schedule:
    """Timesteps with the second one twice; the second stage repeats the first one's move.

    In image to image the doubled timestep is cut away like any other, and yet the second stage
    repeats the first move, so the later ones start a step too low. diffusers does the same.
    """
    spaced = _spaced(config, options)
    timesteps = _begun([*spaced[:2], *spaced[1:]], config, options)
    table = _Table(config)
    jump = config.num_train_timesteps // options.steps
    moves = [(table[t], table[t - jump]) for t in timesteps]
    if len(moves) > 1:
        moves[1] = (table[timesteps[1] + jump], table[timesteps[1]])
    return _schedule(timesteps, table, moves, options)


def lcm_grid(config: SchedulerConfig, options: PlanOptions) -> Schedule:
    """N of the timesteps that the model was distilled on, each moving to the next one."""
    timesteps = _begun(_distilled(config, options), config, options)
    table = _Table(config)
    moves = list(pairwise([*(table[t] for t in timesteps), _CLEAN]))
    return _schedule(timesteps, table, moves, options)


def tcd_grid(config: SchedulerConfig, options: PlanOptions) -> Schedule:
    """As for LCM, but down to timestep 0, each move by way of timestep (1 - eta) t'."""
    timesteps = _begun(_distilled(config, options), config, options)
    table = _Table(config)
    targets = [*timesteps[1:], 0]
    # In float32, because diffusers' product is, and the next lower timestep is one ulp away.
    vias = [int(np.floor(np.float32(1 - options.eta) * np.float32(t))) for t in targets]
    moves = [(table[t], table[target]) for t, target in zip(timesteps, targets, strict=True)]
    return _schedule(timesteps, table, moves, options, [table[t] for t in vias])


class _Table:
    """Levels by training timestep; below 0 lies the final level."""

    def __init__(self, config: SchedulerConfig) -> None:
        self._bars = alpha_bars(config)
        self._final = 1.0 if config.set_alpha_to_one else float(self._bars[0])

    def __getitem__(self, timestep: int) -> Level:
        return Level.from_alpha_bar(float(self._bars[timestep]) if timestep >= 0 else self._final)


def _schedule(
    timesteps: Sequence[int],
    table: _Table,
    moves: Sequence[tuple[Level, Level]],
    options: PlanOptions,
    detours: Sequence[Level] = (),
) -> Schedule:
    return Schedule(
        timesteps=tuple(float(t) for t in timesteps),
        levels=tuple(table[t] for t in timesteps),
        moves=tuple(moves),
        detours=tuple(detours),
        init_noise_sigma=1.0,
        full_steps=options.steps,
    )


def _begun(timesteps: list[int], config: SchedulerConfig, options: PlanOptions) -> list[int]:
    return timesteps[skipped_stages(timesteps, config, options) :]


def _spaced(config: SchedulerConfig, options: PlanOptions) -> list[int]:
    """Space whole timesteps, and refuse those that the training table does not have."""
    if options.timesteps is not None:
        return list(options.timesteps)
    check_steps(config, options)
    steps, train_steps, offset = (
        options.steps,
        config.num_train_timesteps,
        config.steps_offset,
    )
    spaced = spaced_timesteps(config.timestep_spacing, train_steps, steps, offset)
    timesteps = [int(t) for t in spaced.round()]
    if timesteps[0] >= train_steps:
        raise InvalidValueError(
            "num_inference_steps",
            steps,
            f"lower with leading spacing and steps_offset={offset}",
            f"The first timestep would be {timesteps[0]}, beyond the last training timestep "
            f"{train_steps - 1}",
        )
    return timesteps


def _distilled(config: SchedulerConfig, options: PlanOptions) -> list[int]:
    """Return the timesteps of a run in full: those that were given, or picked ones."""
    if options.timesteps is not None:
        return list(options.timesteps)
    check_steps(config, options)
    return distilled_timesteps(config, options.steps)


def distilled_timesteps(config: SchedulerConfig, steps: int, strength: float = 1.0) -> list[int]:
    """Pick timesteps, evenly by index, from those of the distillation (Luo et al. 2023).

    Args:
        config: The scheduler's settings.
        steps: How many.
        strength: From which share of them, the least noisy.

    Raises:
        InvalidValueError: There are not so many.
    """
    original = config.original_inference_steps
    if steps > original:
        raise InvalidValueError(
            "num_inference_steps",
            steps,
            f"at most original_inference_steps={original}",
            "The model was distilled on no more",
        )
    if steps > (share := int(original * strength)):
        raise InvalidValueError(
            "strength",
            strength,
            f"at least num_inference_steps / original_inference_steps = {steps / original:.4g}",
            "This model runs all its steps, within that share of those that it was distilled on",
        )
    stride = config.num_train_timesteps // original
    distilled = np.arange(share, 0, -1) * stride - 1
    picked = np.floor(np.linspace(0, share, steps, endpoint=False)).astype(np.int64)
    return [int(t) for t in distilled[picked]]
