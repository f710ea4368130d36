"""What a caller asks for, checked once, before anything is computed."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from sdopt.bundle.manifest import Defaults
from sdopt.errors import InvalidSizeError, InvalidValueError, unknown_name
from sdopt.runtime.ports import FloatArray
from sdopt.runtime.prompt_checks import choose_negative, choose_prompts
from sdopt.runtime.prompt_embeds import EmbedsRule, Prompt, prompt_as_json
from sdopt.runtime.schedulers import Plan, compile_plan

MAX_SEED = 2**32 - 1
SMALLEST_SIDE = 64
"""Pixels. Below 64×64 torch draws its noise by another algorithm (schedulers.md)."""


class RequestOptions(TypedDict, total=False):
    """What can be said of a picture beside its prompt; the keyword arguments of a pipeline.

    Attributes:
        prompt_embeds: An encoded prompt in place of the text: (length, dim) or (1, length, dim)
            float32, where length is a multiple of 77.
        negative_prompt: What no picture shall show; needs a guidance scale above 1. Default: the
            pipeline's, which is "" unless its operator says otherwise.
        negative_prompt_embeds: The same, encoded, in place of the text.
        num_inference_steps: 1 to 1000. Default: the bundle's.
        guidance_scale: At least 0; 1 and below switch guidance off. Default: the bundle's.
        scheduler: A public name or a diffusers class name. Default: the bundle's own.
        eta: 0 to 1, share of fresh noise, for schedulers that take it. Default 0.
        seed: 0 to 2**32-1; image i, over all prompts, is made from ``seed + i``. Default: drawn.
        height: In pixels, together with ``width``. Default: the bundle's.
        width: In pixels, together with ``height``.
        num_images_per_prompt: At least 1. Default 1.
    """

    prompt_embeds: FloatArray | None
    negative_prompt: str | None
    negative_prompt_embeds: FloatArray | None
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

    prompts: tuple[Prompt, ...]
    negative_prompt: Prompt
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

    def prompt_of(self, index: int) -> Prompt:
        """Return the prompt of picture ``index``."""
        return self.prompts[index // self.num_images_per_prompt]

    def settings(self, index: int) -> dict[str, object]:
        """Return all that is needed to make picture ``index`` again alone, as JSON data.

        Of a prompt that was given as embeddings, it is their shape and SHA-256.
        """
        return {
            **prompt_as_json("prompt", self.prompt_of(index)),
            **prompt_as_json("negative_prompt", self.negative_prompt),
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
        embeds: Which encoded prompts it takes.
        default_negative_prompt: Used with guidance where a request gives none.
    """

    defaults: Defaults
    size_multiple: int
    scheduler: Mapping[str, object]
    embeds: EmbedsRule = field(default_factory=EmbedsRule)
    default_negative_prompt: str = ""

    def request(
        self, prompt: str | Sequence[str] | None, options: RequestOptions
    ) -> GenerationRequest:
        """Check a request and fill in what it leaves open.

        Raises:
            RequestError: A value is not allowed; the message says what is.
            TypeError: There is no option of this name.
        """
        _refuse_unknown(options)
        prompts = choose_prompts(prompt, options.get("prompt_embeds"), self.embeds)
        steps = options.get("num_inference_steps", self.defaults.num_inference_steps)
        eta = options.get("eta", 0.0)
        guidance_scale = check_guidance(options.get("guidance_scale", self.defaults.guidance_scale))
        copies = check_images(options.get("num_images_per_prompt", 1))
        height, width = self._size(options.get("height"), options.get("width"))
        return GenerationRequest(
            prompts=prompts,
            negative_prompt=self._negative(options, guidance_scale),
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

    def _negative(self, options: RequestOptions, guidance_scale: float) -> Prompt:
        return choose_negative(
            options.get("negative_prompt"),
            options.get("negative_prompt_embeds"),
            self.embeds,
            default=self.default_negative_prompt,
            guidance_scale=guidance_scale,
        )


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
