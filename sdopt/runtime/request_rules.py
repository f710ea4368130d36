"""From what a caller gave to a checked request, before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

import numpy as np
from PIL import Image

from sdopt.bundle.families import FAMILIES, Family
from sdopt.bundle.manifest import Defaults
from sdopt.errors import InvalidValueError
from sdopt.runtime.concept_file import Concept
from sdopt.runtime.given_latents import check_count
from sdopt.runtime.image_request import (
    ImageRequest,
    Source,
    image_request,
    open_image,
    rounded_size,
)
from sdopt.runtime.micro_conditioning import micro_conditions
from sdopt.runtime.prompt_checks import Encoded, choose_negative, choose_prompts, refuse_negative
from sdopt.runtime.prompt_embeds import EmbedsRule, Prompt, ZeroPrompt
from sdopt.runtime.request import GenerationRequest
from sdopt.runtime.request_checks import (
    check_clip_skip,
    check_guidance,
    check_images,
    check_side,
    choose_seed,
)
from sdopt.runtime.request_options import OutputType, RequestOptions, refuse_unknown
from sdopt.runtime.schedule_request import schedule_request
from sdopt.runtime.schedulers import Task
from sdopt.runtime.second_pass import HIRES_OPTIONS
from sdopt.runtime.variation import choose_variation


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRules:
    """Turns what a caller gave into a checked request, by what a bundle can do.

    Attributes:
        defaults: What a request means where it does not say.
        size_multiple: What height and width must be multiples of, in pixels.
        fixed_size: The only height and width, in pixels; None for any.
        scheduler: Its ``scheduler_config.json``.
        latent_channels: Of its latents.
        scaling_factor: Between the VAE's latents and the UNet's.
        embeds: Which encoded prompts it takes.
        default_negative_prompt: Used with guidance where a request gives none.
        max_clip_skip: How many layers its text encoders can leave out.
        concepts: What prompts can name beside the vocabulary.
        family: How its UNet is guided, what it takes and what it was trained for.
        zero_negative_prompt: Whether a negative prompt that is not given means zeros.
    """

    defaults: Defaults
    size_multiple: int
    scheduler: Mapping[str, object]
    latent_channels: int = 4
    scaling_factor: float = 1.0
    embeds: EmbedsRule = field(default_factory=EmbedsRule)
    default_negative_prompt: str = ""
    max_clip_skip: int = 0
    concepts: tuple[Concept, ...] = ()
    family: Family = FAMILIES["sd1"]
    zero_negative_prompt: bool = False
    fixed_size: tuple[int, int] | None = None

    def request(
        self, prompt: str | Sequence[str] | None, options: RequestOptions
    ) -> GenerationRequest:
        """Check a request and fill in what it leaves open.

        Raises:
            RequestError: A value is not allowed; the message says what is.
            TypeError: There is no option of this name.
        """
        refuse_unknown(options)
        _refuse_second_passes(options)
        image = open_image(options, self.latent_channels)
        size = self._size(options, image)
        start = None if image is None else image_request(image, options, size)
        if start is not None and start.task == "image_to_image":
            start = replace(start, shortens=self.family.strength_shortens)
        return self.request_from(prompt, options, size, start)

    def request_from(
        self,
        prompt: str | Sequence[str] | None,
        options: RequestOptions,
        size: tuple[int, int],
        start: ImageRequest | None,
    ) -> GenerationRequest:
        """Check the rest of a request whose size and picture to start from are known.

        Raises:
            RequestError: A value is not allowed; the message says what is.
        """
        self._refuse_other_sizes(size)
        task = "text_to_image" if start is None else start.task
        self._refuse_other_tasks(task)
        encoded = Encoded(options.get("prompt_embeds"), options.get("pooled_prompt_embeds"))
        prompts = choose_prompts(prompt, encoded, self.embeds)
        guidance_scale = check_guidance(options.get("guidance_scale", self.defaults.guidance_scale))
        copies = check_images(options.get("num_images_per_prompt", 1))
        guided = guidance_scale > 1 and self.family.guidance == "classifier_free"
        variation = choose_variation(options, len(prompts) * copies)
        if start is not None and start.latents is not None:
            check_count("image", start.latents, len(prompts) * copies)
        return GenerationRequest(
            prompts=prompts,
            negative_prompt=self._negative(options, guidance_scale),
            clip_skip=self._clip_skip(options),
            concepts=self.concepts,
            schedule=schedule_request(
                options,
                self.scheduler,
                default_steps=self.defaults.num_inference_steps,
                task=task,
                strength=1.0 if start is None else start.strength,
                shortens=start is not None and start.shortens,
            ),
            guidance_scale=guidance_scale,
            seed=choose_seed(options.get("seed"), 1 if variation else len(prompts) * copies),
            height=size[0],
            width=size[1],
            num_images_per_prompt=copies,
            guidance=self.family.guidance,
            micro=micro_conditions(options, self.family.time_ids, size, guided=guided),
            image=start,
            variation=variation,
            output_type=_output_type(options),
        )

    def any_picture(self) -> RequestOptions:
        """Return options without which this model cannot do even an empty prompt."""
        size = self.defaults.width, self.defaults.height
        if self.family.task == "text_to_image":
            return {}
        if self.family.task == "image_to_image":
            return {"image": Image.new("RGB", size), "strength": 1.0}
        return {"image": Image.new("RGB", size), "mask_image": Image.new("L", size, "white")}

    def _size(self, options: RequestOptions, image: Source | None) -> tuple[int, int]:
        """Return the size to make: what was given, the image's, or the default.

        Raises:
            RequestError: It is no size, or not the one of the latents to start from.
        """
        size = self._chosen_size(options, image)
        own = size if image is None else rounded_size(image, self.size_multiple)
        if isinstance(image, np.ndarray) and size != own:
            given, allowed = f"{size[1]}x{size[0]}", f"that of the latents, {own[1]}x{own[0]}"
            raise InvalidValueError("size", given, allowed, "Leave height and width out")
        return size

    def _chosen_size(self, options: RequestOptions, image: Source | None) -> tuple[int, int]:
        height, width = options.get("height"), options.get("width")
        if height is None and width is None:
            default = self.defaults.height, self.defaults.width
            if image is None or self.fixed_size is not None:
                return default
            return rounded_size(image, self.size_multiple)
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
        text = options.get("negative_prompt")
        encoded = Encoded(
            options.get("negative_prompt_embeds"), options.get("negative_pooled_prompt_embeds")
        )
        if self.family.guidance == "embedded":
            refuse_negative(text, encoded)
            return ""
        nothing: Prompt = ZeroPrompt() if self.zero_negative_prompt else ""
        default = self.default_negative_prompt or nothing
        return choose_negative(
            text, encoded, self.embeds, default=default, guidance_scale=guidance_scale
        )

    def _refuse_other_sizes(self, size: tuple[int, int]) -> None:
        if self.fixed_size is None or self.fixed_size == size:
            return
        given, allowed = (f"{width}x{height}" for height, width in (size, self.fixed_size))
        hint = "The engine was compiled for this size: load it without fixed_size for any"
        raise InvalidValueError("size", given, allowed, hint)

    def _refuse_other_tasks(self, task: Task) -> None:
        if task not in _DOES[self.family.task]:
            allowed = f"{' or '.join(_DOES[self.family.task])} for this model ({self.family.title})"
            raise InvalidValueError("task", task, allowed, _WHY[self.family.task])


_DOES: Mapping[str, tuple[Task, ...]] = {
    "text_to_image": get_args(Task),
    "image_to_image": ("image_to_image", "inpainting"),
    "inpainting": ("inpainting",),
}
"""What UNets can do, by what they were trained for."""
_WHY = {
    "image_to_image": "Its UNet knows the end of the schedule alone: give image, or load it beside "
    "its base, sdopt.load(base, refiner=...)",
    "inpainting": "Its UNet takes a mask and a masked picture beside the latents: give image and "
    "mask_image",
}


def _refuse_second_passes(options: RequestOptions) -> None:
    """Refuse what is left of a request for two passes where there is one."""
    if (share := options.get("handover")) is not None:
        hint = "Load one beside the base: sdopt.load(base, refiner=...)"
        raise InvalidValueError("handover", share, "not given without a refiner", hint)
    for name in HIRES_OPTIONS:
        if (value := options.get(name)) is not None:
            raise InvalidValueError(name, value, "not given where hr_scale is not")


def _output_type(options: RequestOptions) -> OutputType:
    given = options.get("output_type", "pil")
    if given not in get_args(OutputType):
        raise InvalidValueError("output_type", given, f"one of {', '.join(get_args(OutputType))}")
    return given
