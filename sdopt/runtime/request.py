"""What a caller asks for, checked once, before anything is computed."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from sdopt.bundle.manifest import Defaults
from sdopt.errors import InvalidSizeError, InvalidValueError, unknown_name
from sdopt.runtime.schedulers import Plan, compile_plan

MAX_SEED = 2**32 - 1
SMALLEST_SIDE = 64
"""Pixels. Below 64×64 torch draws its noise by another algorithm (schedulers.md)."""


class RequestOptions(TypedDict, total=False):
    """What can be said of a picture beside its prompt; the keyword arguments of a pipeline.

    Attributes:
        negative_prompt: What no picture shall show; needs a guidance scale above 1. Default "".
        num_inference_steps: 1 to 1000. Default: the bundle's.
        guidance_scale: At least 0; 1 and below switch guidance off. Default: the bundle's.
        scheduler: A public name or a diffusers class name. Default: the bundle's own.
        eta: 0 to 1, share of fresh noise, for schedulers that take it. Default 0.
        seed: 0 to 2**32-1; image i, over all prompts, is made from ``seed + i``. Default: drawn.
        height: In pixels, together with ``width``. Default: the bundle's.
        width: In pixels, together with ``height``.
        num_images_per_prompt: At least 1. Default 1.
    """

    negative_prompt: str
    num_inference_steps: int
    guidance_scale: float
    scheduler: str | None
    eta: float
    seed: int | None
    height: int | None
    width: int | None
    num_images_per_prompt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One request for pictures, all of it checked by the functions below and by its plan.

    Attributes:
        prompts: At least one; ``num_images_per_prompt`` pictures are made of each.
        negative_prompt: What the pictures shall not show.
        plan: Its scheduler, compiled.
        num_inference_steps: What the plan was compiled for.
        eta: What the plan was compiled for.
        guidance_scale: At least 0; guidance is off at 1 and below.
        seed: 0 to 2**32-1. Picture i of the request, counted over all prompts, is made from
            ``seed + i``.
        height: In pixels.
        width: In pixels.
        num_images_per_prompt: At least 1.
    """

    prompts: tuple[str, ...]
    negative_prompt: str
    plan: Plan
    num_inference_steps: int
    eta: float
    guidance_scale: float
    seed: int
    height: int
    width: int
    num_images_per_prompt: int

    @property
    def num_images(self) -> int:
        """How many pictures the request asks for in all."""
        return len(self.prompts) * self.num_images_per_prompt

    @property
    def guided(self) -> bool:
        """Whether each picture takes an unconditional UNet row beside the conditional one."""
        return self.guidance_scale > 1

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each picture."""
        return tuple(self.seed + index for index in range(self.num_images))

    def prompt_of(self, index: int) -> str:
        """Return the prompt of picture ``index``."""
        return self.prompts[index // self.num_images_per_prompt]

    def settings(self, index: int) -> dict[str, object]:
        """Return all that is needed to make picture ``index`` again alone, as JSON data."""
        return {
            "prompt": self.prompt_of(index),
            "negative_prompt": self.negative_prompt,
            "num_inference_steps": self.num_inference_steps,
            "guidance_scale": self.guidance_scale,
            "scheduler": self.plan.name,
            "eta": self.eta,
            "seed": self.seeds[index],
            "height": self.height,
            "width": self.width,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRules:
    """Turns what a caller gave into a checked request, by what a bundle can do.

    Attributes:
        defaults: What a request means where it does not say.
        size_multiple: What height and width must be multiples of, in pixels.
        scheduler: Its ``scheduler_config.json``.
    """

    defaults: Defaults
    size_multiple: int
    scheduler: Mapping[str, object]

    def request(self, prompt: str | Sequence[str], options: RequestOptions) -> GenerationRequest:
        """Check a request and fill in what it leaves open.

        Raises:
            RequestError: A value is not allowed; the message says what is.
            TypeError: There is no option of this name.
        """
        _refuse_unknown(options)
        prompts = check_prompts(prompt)
        steps = options.get("num_inference_steps", self.defaults.num_inference_steps)
        eta = options.get("eta", 0.0)
        guidance_scale = check_guidance(options.get("guidance_scale", self.defaults.guidance_scale))
        copies = check_images(options.get("num_images_per_prompt", 1))
        height, width = self._size(options.get("height"), options.get("width"))
        return GenerationRequest(
            prompts=prompts,
            negative_prompt=check_negative(options.get("negative_prompt", ""), guidance_scale),
            plan=compile_plan(self.scheduler, steps, scheduler=options.get("scheduler"), eta=eta),
            num_inference_steps=steps,
            eta=eta,
            guidance_scale=guidance_scale,
            seed=choose_seed(options.get("seed"), len(prompts) * copies),
            height=height,
            width=width,
            num_images_per_prompt=copies,
        )

    def _size(self, height: int | None, width: int | None) -> tuple[int, int]:
        """Return the size to make: what was given, or the default where nothing was."""
        if height is None and width is None:
            return self.defaults.height, self.defaults.width
        if height is None or width is None:
            missing, given = ("height", "width") if height is None else ("width", "height")
            raise InvalidValueError(missing, None, f"required where {given} is given")
        return self._side("height", height), self._side("width", width)

    def _side(self, name: str, value: object) -> int:
        side = whole_number(name, value, f"a multiple of {self.size_multiple}")
        if side < SMALLEST_SIDE or side % self.size_multiple:
            raise InvalidSizeError(name, side, self.size_multiple, SMALLEST_SIDE)
        return side


def check_prompts(prompt: object) -> tuple[str, ...]:
    """Return one prompt, or several, as a tuple.

    Raises:
        InvalidValueError: It is neither a text nor a non-empty sequence of texts.
    """
    prompts = (prompt,) if isinstance(prompt, str) else prompt
    if not isinstance(prompts, Sequence) or not prompts:
        raise InvalidValueError("prompt", prompt, "a text, or a sequence of at least one text")
    for text in prompts:
        check_text("prompt", text)
    return tuple(prompts)


def check_text(name: str, value: object) -> str:
    """Return a text as it is, if it is one."""
    if not isinstance(value, str):
        raise InvalidValueError(name, value, "a text")
    return value


def check_images(value: object) -> int:
    """Return a number of pictures per prompt, if it is one."""
    return _within(
        "num_images_per_prompt",
        whole_number("num_images_per_prompt", value, "a whole number"),
        1,
        1000,
    )


def check_guidance(value: object) -> float:
    """Return a guidance scale, if it is one: finite and at least 0."""
    if (
        not isinstance(value, (int, float))
        or isinstance(value, bool)
        or not (math.isfinite(value) and value >= 0)
    ):
        raise InvalidValueError("guidance_scale", value, "a finite number of at least 0")
    return float(value)


def check_negative(value: object, guidance_scale: float) -> str:
    """Return a negative prompt, if it is a text, and empty where guidance is off."""
    text = check_text("negative_prompt", value)
    if text and guidance_scale <= 1:
        hint = "Without guidance a negative prompt would have no effect"
        raise InvalidValueError(
            "guidance_scale", guidance_scale, "above 1 where negative_prompt is given", hint
        )
    return text


def choose_seed(value: object, num_images: int) -> int:
    """Return the seed of the first picture: the given one, or a drawn one.

    Raises:
        InvalidValueError: It is no integer, or some picture's seed would lie outside 0..2**32-1.
    """
    if value is None:
        return secrets.randbelow(MAX_SEED + 2 - num_images)
    allowed = f"a whole number from 0 to {MAX_SEED + 1 - num_images}"
    seed = whole_number("seed", value, allowed)
    if not 0 <= seed <= MAX_SEED + 1 - num_images:
        hint = f"Picture i of {num_images} uses seed + i" if num_images > 1 else ""
        raise InvalidValueError("seed", seed, allowed, hint)
    return seed


def whole_number(name: str, value: object, allowed: str) -> int:
    """Return an int, or a NumPy integer as an int; anything else (bool, 4.0, "4") is refused."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InvalidValueError(name, value, allowed)
    return int(value.__index__())


def _within(name: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise InvalidValueError(name, value, f"a whole number from {least} to {most}")
    return value


def _refuse_unknown(options: Mapping[str, object]) -> None:
    names = tuple(RequestOptions.__annotations__)
    for name in options:
        if name not in names:
            raise TypeError(unknown_name("option", name, names))
