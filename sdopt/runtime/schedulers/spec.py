"""What the table of schedulers says of each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from sdopt.runtime.schedulers.config import SchedulerConfig
from sdopt.runtime.schedulers.schedule import Grid
from sdopt.runtime.schedulers.settings import CLASS_SETTINGS, SIGMA_SPACINGS
from sdopt.runtime.schedulers.solvers.stage import Solver

SUFFIXES = ("karras", "exponential", "beta")  # spacings of sigmas that a name may end in
History = Callable[[SchedulerConfig], int]
Option = Literal["eta", "churn", "timesteps", "sigmas"]


@dataclass(frozen=True, kw_only=True)
class SchedulerSpec:
    """One scheduler.

    Attributes:
        name: Public name, without a suffix for the spacing of sigmas.
        class_name: The diffusers class whose settings and defaults it has.
        solver: How one stage changes the state.
        grid: Where the stages lie.
        latents: Scale of the latents: variance preserving, x = αx0 + sε, or exploding, x = x0 + σε.
        history: Number of state rows beside the latents.
        order: Of the method once its history is full, where no ``solver_order`` decides it.
        forced: Settings that the name decides, over scheduler_config.json.
        honours: Options of a request that have an effect here and not everywhere.
        aliases: Other names that people know it by; case has no meaning.
        summary: What it is good for, for people.
    """

    name: str
    class_name: str
    solver: Solver
    grid: Grid
    latents: Literal["vp", "ve"]
    history: History
    order: int = 1
    forced: Mapping[str, object] = field(default_factory=dict[str, object])
    honours: tuple[Option, ...] = ()
    aliases: tuple[str, ...] = ()
    summary: str = ""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The spacings of sigmas that this scheduler's class knows."""
        return tuple(s for s in SUFFIXES if SIGMA_SPACINGS[s] in CLASS_SETTINGS[self.class_name])

    @property
    def distilled(self) -> bool:
        """Whether it is for models that were distilled on certain timesteps, and goes to those."""
        return "original_inference_steps" in CLASS_SETTINGS[self.class_name]
