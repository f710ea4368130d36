"""What changes a plan beside the scheduler's configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypedDict, cast, get_args

from sdopt.errors import InvalidValueError
from sdopt.runtime.schedulers.churn import Churn
from sdopt.runtime.schedulers.numbers import check_number, is_whole, real

Task = Literal["text_to_image", "image_to_image", "inpainting"]


class PlanKeywords(TypedDict, total=False):
    """The fields of ``PlanOptions`` that have defaults, as keyword arguments."""

    strength: float
    eta: float
    task: Task | None
    churn: Churn | None
    denoising_start: float | None
    denoising_end: float | None
    timesteps: Sequence[int] | None
    sigmas: Sequence[float] | None


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """The request's side of a plan. Values are checked on construction.

    Attributes:
        num_inference_steps: Steps of the full schedule, 1 to 1000. None where ``timesteps`` or
            ``sigmas`` are given, whose number decides it.
        strength: Share of the schedule that an image to image run goes through, in (0, 1].
        eta: Share of fresh noise for ddim and tcd, in [0, 1]; 0 is deterministic.
        task: Decides how the first latents are made. Where None, image to image if the run starts
            within the schedule, by ``strength`` or ``denoising_start``, and else text to image.
        churn: Noise that Euler's method adds before its steps.
        denoising_start: Where the run takes over from another model, in (0, 1): it begins at the
            first timestep below ``(1 - denoising_start) * num_train_timesteps``. The image that it
            starts from is the other model's latents, and no noise is added.
        denoising_end: Where the run hands over to another model, in (0, 1): its last timestep is
            the last that is not below ``(1 - denoising_end) * num_train_timesteps``.
        timesteps: Training timesteps to go through, falling, in place of spaced ones.
        sigmas: Sigmas to go through, falling, with the one that the run ends on, mostly 0.

    Raises:
        InvalidValueError: A value is outside what is allowed.
    """

    num_inference_steps: int | None = None
    strength: float = 1.0
    eta: float = 0.0
    task: Task | None = None
    churn: Churn | None = None
    denoising_start: float | None = None
    denoising_end: float | None = None
    timesteps: Sequence[int] | None = None
    sigmas: Sequence[float] | None = None

    def __post_init__(self) -> None:
        """Keep private copies of the lists, and refuse values outside what is allowed."""
        _check_timesteps(self.timesteps)
        _check_sigmas(self.sigmas)
        for name in ("timesteps", "sigmas"):
            given = getattr(self, name)
            object.__setattr__(self, name, None if given is None else tuple(given))
        self._check_steps()
        check_number("strength", self.strength, 0.0 < real(self.strength) <= 1.0, _STRENGTH)
        check_number("eta", self.eta, 0.0 <= real(self.eta) <= 1.0, "a number from 0 to 1")
        for name in ("denoising_start", "denoising_end"):
            value = getattr(self, name)
            check_number(name, value, value is None or 0.0 < real(value) < 1.0, _DENOISING)
        self._check_start()
        self._check_strength()

    @property
    def steps(self) -> int:
        """N, the steps of the full schedule."""
        if self.timesteps is not None:
            return len(self.timesteps)
        if self.sigmas is not None:
            return len(self.sigmas) - 1
        assert self.num_inference_steps is not None
        return self.num_inference_steps

    @property
    def skipped_steps(self) -> int:
        """Steps at the noisy end of the schedule that ``strength`` leaves out."""
        return self.steps - int(self.steps * self.strength)

    @property
    def starts_from_noise(self) -> bool:
        """Whether the first latents are noise alone; inpainting's are at full strength."""
        if self.denoising_start is not None:
            return False
        if self.task is None:
            return self.strength == 1
        return self.task == "text_to_image" or (self.task == "inpainting" and self.strength == 1)

    def _check_steps(self) -> None:
        if self.timesteps is not None and self.sigmas is not None:
            hint = "Give one of them: the other follows from it"
            raise InvalidValueError("sigmas", self.sigmas, "None where timesteps are given", hint)
        steps, custom = self.num_inference_steps, self.timesteps or self.sigmas
        if custom is None:
            fits = isinstance(steps, int) and is_whole(steps) and 1 <= steps <= 1000
            check_number("num_inference_steps", steps, fits, "a whole number from 1 to 1000")
        elif steps is not None:
            raise InvalidValueError(
                "num_inference_steps",
                steps,
                "None where timesteps or sigmas are given",
                "Their number decides it",
            )

    def _check_start(self) -> None:
        if self.task is not None and self.task not in get_args(Task):
            raise InvalidValueError("task", self.task, f"one of {', '.join(get_args(Task))}")
        start, end = self.denoising_start, self.denoising_end
        if start is None:
            return
        if self.task == "text_to_image":
            hint = "A run that takes over needs latents to start from"
            raise InvalidValueError("denoising_start", start, "None for text_to_image", hint)
        if self.strength != 1:
            hint = "denoising_start alone says where the run begins"
            raise InvalidValueError(
                "strength", self.strength, "1 where denoising_start is given", hint
            )
        if end is not None and start >= end:
            raise InvalidValueError("denoising_start", start, f"below denoising_end={end}")

    def _check_strength(self) -> None:
        if self.task == "text_to_image" and self.strength < 1:
            hint = "A lower strength needs an image to start from"
            raise InvalidValueError("strength", self.strength, "1 for text_to_image", hint)
        if self.skipped_steps == self.steps:
            least = f"at least 1 / num_inference_steps = {1 / self.steps:.4g}"
            hint = "Below that no step is left to run"
            raise InvalidValueError("strength", self.strength, least, hint)


_STRENGTH = "a number above 0 and up to 1"
_DENOISING = "a number between 0 and 1"
_TIMESTEPS = "a list of 1 to 1000 whole numbers of at least 0, each below the one before it"
_SIGMAS = "a list of 2 to 1001 numbers from 0 to 1000000, each below the one before it"


def _check_timesteps(value: object) -> None:
    if value is not None:
        numbers = _numbers(value) if all(map(is_whole, _items(value))) else []
        fits = 1 <= len(numbers) <= 1000 and _falls(numbers) and numbers[-1] >= 0
        check_number("timesteps", value, fits, _TIMESTEPS)


def _check_sigmas(value: object) -> None:
    if value is not None:
        numbers = _numbers(value)
        fits = 2 <= len(numbers) <= 1001 and _falls(numbers)
        fits = fits and numbers[-1] >= 0 and numbers[0] <= 1e6
        check_number("sigmas", value, fits, _SIGMAS)


def _items(value: object) -> Sequence[object]:
    return cast("Sequence[object]", value) if isinstance(value, list | tuple) else ()


def _numbers(value: object) -> list[float]:
    """Return the numbers of a list, NaN for what is none; nothing of what is no list."""
    return [real(item) for item in _items(value)]


def _falls(values: Sequence[float]) -> bool:
    return all(higher > lower for higher, lower in pairwise(values))
