"""The schedule of one run: where the model is evaluated, and where each update ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sdopt.errors import InvalidValueError
from sdopt.runtime.schedulers.config import SchedulerConfig
from sdopt.runtime.schedulers.levels import Level
from sdopt.runtime.schedulers.options import PlanOptions


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Noise levels by stage, after the cut for image to image.

    Attributes:
        timesteps: What the model is told at each stage.
        levels: The level that each stage's latents lie on.
        moves: The levels between which each stage's update moves the latents.
        detours: For solvers that first move further down than their target: how far, by stage.
        init_noise_sigma: Scale of pure noise at the start of the full schedule.
        full_steps: Steps of the full schedule; rules that depend on N mean this one.
        skipped: Steps of the full schedule that were cut off.
    """

    timesteps: tuple[float, ...]
    levels: tuple[Level, ...]
    moves: tuple[tuple[Level, Level], ...]
    detours: tuple[Level, ...] = ()
    init_noise_sigma: float
    full_steps: int
    skipped: int


Grid = Callable[[SchedulerConfig, PlanOptions], Schedule]


def check_steps(config: SchedulerConfig, options: PlanOptions) -> None:
    """Refuse more steps than the checkpoint has training timesteps.

    Raises:
        InvalidValueError: There are more.
    """
    if options.num_inference_steps > config.num_train_timesteps:
        raise InvalidValueError(
            "num_inference_steps",
            options.num_inference_steps,
            f"at most num_train_timesteps={config.num_train_timesteps} of this checkpoint",
        )
