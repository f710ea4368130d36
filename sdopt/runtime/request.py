"""What a caller asks for, checked once, before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from sdopt.bundle.manifest import Defaults
from sdopt.errors import InvalidValueError, unknown_name
from sdopt.runtime.concept_file import Concept
from sdopt.runtime.ports import FloatArray
from sdopt.runtime.prompt_checks import choose_negative, choose_prompts
from sdopt.runtime.prompt_embeds import EmbedsRule, Prompt, prompt_as_json
from sdopt.runtime.request_checks import (
    check_clip_skip,
    check_guidance,
    check_images,
    check_side,
    choose_seed,
)
from sdopt.runtime.schedulers import Plan, compile_plan


class RequestOptions(TypedDict, total=False):
    """What can be said of a picture beside its prompt; the keyword arguments of a pipeline.

    Attributes:
        prompt_embeds: An encoded prompt in place of the text: (length, dim) or (1, length, dim)
            float32, where length is a multiple of 77.
        negative_prompt: What no picture shall show; needs a guidance scale above 1. Default: the
            pipeline's, which is "" unless its operator says otherwise.
        negative_prompt_embeds: The same, encoded, in place of the text.
        clip_skip: How many of the text encoder's last layers to leave out, as in diffusers: 1 here
            is the web UI's 2. Default 0.
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
    clip_skip: int
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
        clip_skip: How many of the text encoder's last layers are left out.
        concepts: What the prompts could name, by textual inversion.
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
    clip_skip: int
    concepts: tuple[Concept, ...]
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
            "clip_skip": self.clip_skip,
            "concepts": {concept.token: concept.sha256 for concept in self.concepts},
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
        max_clip_skip: How many layers its text encoders can leave out.
        concepts: What prompts can name beside the vocabulary.
    """

    defaults: Defaults
    size_multiple: int
    scheduler: Mapping[str, object]
    embeds: EmbedsRule = field(default_factory=EmbedsRule)
    default_negative_prompt: str = ""
    max_clip_skip: int = 0
    concepts: tuple[Concept, ...] = ()

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
            clip_skip=self._clip_skip(options),
            concepts=self.concepts,
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
        multiple = self.size_multiple
        return check_side("height", height, multiple), check_side("width", width, multiple)

    def _clip_skip(self, options: RequestOptions) -> int:
        clip_skip = check_clip_skip(options.get("clip_skip", 0), self.max_clip_skip)
        if clip_skip and options.get("prompt_embeds") is not None:
            raise InvalidValueError("clip_skip", clip_skip, "0 where prompt_embeds is given")
        return clip_skip

    def _negative(self, options: RequestOptions, guidance_scale: float) -> Prompt:
        return choose_negative(
            options.get("negative_prompt"),
            options.get("negative_prompt_embeds"),
            self.embeds,
            default=self.default_negative_prompt,
            guidance_scale=guidance_scale,
        )


def _refuse_unknown(options: Mapping[str, object]) -> None:
    names = tuple(RequestOptions.__annotations__)
    for name in options:
        if name not in names:
            raise TypeError(unknown_name("option", name, names))
