"""What a solver is given at one stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sdopt.runtime.schedulers.config import SchedulerConfig
from sdopt.runtime.schedulers.levels import Level
from sdopt.runtime.schedulers.options import PlanOptions
from sdopt.runtime.schedulers.plan import FloatArray
from sdopt.runtime.schedulers.prediction import Prediction, predict
from sdopt.runtime.schedulers.schedule import Schedule

State = tuple[FloatArray, ...]
"""The latents, then the solver's history. Slots that are not filled yet hold zeros."""

Draw = Callable[[], FloatArray]


@dataclass(frozen=True)
class Stage:
    """One evaluation of the model, and where the update after it goes.

    Attributes:
        index: Evaluations before this one. The history is empty at 0.
        schedule: The whole run.
        config: The scheduler's settings.
        options: The request's side of the plan.
        model_output: What the model answered.
        prediction: The same, read as x0 and epsilon at this stage's level.
    """

    index: int
    schedule: Schedule
    config: SchedulerConfig
    options: PlanOptions
    model_output: FloatArray
    prediction: Prediction

    @property
    def now(self) -> Level:
        """The level that the update starts from."""
        return self.schedule.moves[self.index][0]

    @property
    def then(self) -> Level:
        """The level that the update ends on."""
        return self.schedule.moves[self.index][1]

    @property
    def timestep(self) -> float:
        """What the model was told."""
        return self.schedule.timesteps[self.index]

    @property
    def is_last(self) -> bool:
        """Whether no stage follows."""
        return self.index == len(self.schedule.levels) - 1

    @property
    def position(self) -> int:
        """Index of this stage before any cut, for solvers with one stage per step."""
        return self.schedule.skipped + self.index

    def recent(self, count: int) -> list[Level]:
        """Return the levels of the last ``count`` stages, this one first."""
        return [self.schedule.levels[self.index - back] for back in range(count)]

    def predict(self, sample: FloatArray, model_output: FloatArray, level: Level) -> Prediction:
        """Read another model output than this stage's own."""
        return predict(self.config.prediction_type, sample, model_output, level)


Solver = Callable[[Stage, State, Draw], State]
