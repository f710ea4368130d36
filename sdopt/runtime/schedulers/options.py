"""What changes a plan beside the scheduler's configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from sdopt.errors import InvalidValueError

Task = Literal["text_to_image", "image_to_image", "inpainting"]


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """The request's side of a plan. Values are checked on construction.

    Attributes:
        num_inference_steps: Steps of the full schedule, 1 to 1000.
        strength: Share of the schedule that an image to image run goes through, in (0, 1].
        eta: Share of fresh noise for ddim and tcd, in [0, 1]; 0 is deterministic.
        task: Decides how the first latents are made.

    Raises:
        InvalidValueError: A value is outside what is allowed.
    """

    num_inference_steps: int
    strength: float = 1.0
    eta: float = 0.0
    task: Task = "text_to_image"

    def __post_init__(self) -> None:
        """Refuse values outside what is allowed."""
        _check_steps(self.num_inference_steps)
        _check_number("strength", self.strength, 0.0 < _number(self.strength) <= 1.0, _STRENGTH)
        _check_number("eta", self.eta, 0.0 <= _number(self.eta) <= 1.0, _ETA)
        if self.task not in get_args(Task):
            raise InvalidValueError("task", self.task, f"one of {', '.join(get_args(Task))}")
        if self.task == "text_to_image" and self.strength < 1:
            raise InvalidValueError(
                "strength",
                self.strength,
                "1 for text_to_image",
                "A lower strength needs an image to start from",
            )
        if self.skipped_steps == self.num_inference_steps:
            raise InvalidValueError(
                "strength",
                self.strength,
                f"at least 1 / num_inference_steps = {1 / self.num_inference_steps:.4g}",
                "Below that no step is left to run",
            )

    @property
    def skipped_steps(self) -> int:
        """Steps at the noisy end of the schedule that an image to image run leaves out."""
        return self.num_inference_steps - int(self.num_inference_steps * self.strength)


_STRENGTH = "a number above 0 and up to 1"
_ETA = "a number from 0 to 1"


def _number(value: object) -> float:
    """Return a real number as a float, and anything else as NaN, which no range contains."""
    return (
        float(value)
        if isinstance(value, int | float) and not isinstance(value, bool)
        else float("nan")
    )


def _check_number(name: str, value: object, fits: bool, allowed: str) -> None:
    if not fits:
        raise InvalidValueError(name, value, allowed)


def _check_steps(steps: object) -> None:
    if not isinstance(steps, int) or isinstance(steps, bool) or not 1 <= steps <= 1000:
        raise InvalidValueError("num_inference_steps", steps, "a whole number from 1 to 1000")
