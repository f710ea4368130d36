"""What a caller asks for, checked once, before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from PIL import Image

from sdopt.bundle.families import FAMILIES, Family, Guidance
from sdopt.bundle.manifest import Defaults
from sdopt.errors import InvalidValueError
from sdopt.runtime.concept_file import Concept
from sdopt.runtime.image_request import (
    ImageOptions,
    ImageRequest,
    image_request,
    open_image,
    rounded_size,
)
from sdopt.runtime.micro_conditioning import MicroConditions, micro_conditions
from sdopt.runtime.prompt_checks import Encoded, choose_negative, choose_prompts, refuse_negative
from sdopt.runtime.prompt_embeds import EmbedsRule, Prompt, ZeroPrompt, prompt_as_json
from sdopt.runtime.request_checks import (
    check_clip_skip,
    check_guidance,
    check_images,
    check_side,
    choose_seed,
)
from sdopt.runtime.request_options import RequestOptions, refuse_unknown
from sdopt.runtime.schedulers import Plan, Task, compile_plan


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
        guidance: How guidance acts.
        micro: What the UNet is told about the picture's size, where the family does that.
        image: What the pictures start from; None for text to image.
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
    guidance: Guidance = "classifier_free"
    micro: MicroConditions | None = None
    image: ImageRequest | None = None

    @property
    def num_images(self) -> int:
        """How many pictures the request asks for in all."""
        return len(self.prompts) * self.num_images_per_prompt

    @property
    def guided(self) -> bool:
        """Whether each picture takes an unconditional UNet row beside the conditional one."""
        return self.guidance_scale > 1 and self.guidance == "classifier_free"

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each picture."""
        return tuple(self.seed + index for index in range(self.num_images))

    def prompt_of(self, index: int) -> Prompt:
        """Return the prompt of picture ``index``."""
        return self.prompts[index // self.num_images_per_prompt]

    def finish(self, picture: Image.Image) -> Image.Image:
        """Return a decoded picture as it is handed out: in the one that it was cut from, if any."""
        return picture if self.image is None else self.image.finish(picture)

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
            **({} if self.micro is None else self.micro.settings()),
            **({} if self.image is None else self.image.settings),
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
        family: How its UNet is guided, what it takes and what it was trained for.
        zero_negative_prompt: Whether a negative prompt that is not given means zeros.
    """

    defaults: Defaults
    size_multiple: int
    scheduler: Mapping[str, object]
    embeds: EmbedsRule = field(default_factory=EmbedsRule)
    default_negative_prompt: str = ""
    max_clip_skip: int = 0
    concepts: tuple[Concept, ...] = ()
    family: Family = FAMILIES["sd1"]
    zero_negative_prompt: bool = False

    def request(
        self, prompt: str | Sequence[str] | None, options: RequestOptions
    ) -> GenerationRequest:
        """Check a request and fill in what it leaves open.

        Raises:
            RequestError: A value is not allowed; the message says what is.
            TypeError: There is no option of this name.
        """
        refuse_unknown(options)
        image = open_image(options)
        size = self._size(options, image)
        start = None if image is None else image_request(image, options, size)
        self._refuse_other_tasks("text_to_image" if start is None else start.task)
        encoded = Encoded(options.get("prompt_embeds"), options.get("pooled_prompt_embeds"))
        prompts = choose_prompts(prompt, encoded, self.embeds)
        steps = options.get("num_inference_steps", self.defaults.num_inference_steps)
        eta = options.get("eta", 0.0)
        guidance_scale = check_guidance(options.get("guidance_scale", self.defaults.guidance_scale))
        copies = check_images(options.get("num_images_per_prompt", 1))
        guided = guidance_scale > 1 and self.family.guidance == "classifier_free"
        return GenerationRequest(
            prompts=prompts,
            negative_prompt=self._negative(options, guidance_scale),
            clip_skip=self._clip_skip(options),
            concepts=self.concepts,
            plan=compile_plan(
                self.scheduler,
                steps,
                scheduler=options.get("scheduler"),
                eta=eta,
                strength=1.0 if start is None else start.strength,
                task=None if start is None else start.task,
            ),
            num_inference_steps=steps,
            eta=eta,
            guidance_scale=guidance_scale,
            seed=choose_seed(options.get("seed"), len(prompts) * copies),
            height=size[0],
            width=size[1],
            num_images_per_prompt=copies,
            guidance=self.family.guidance,
            micro=micro_conditions(options, self.family.time_ids, size, guided=guided),
            image=start,
        )

    def any_picture(self) -> ImageOptions:
        """Return options without which this model cannot do even an empty prompt."""
        if self.family.task != "inpainting":
            return {}
        size = self.defaults.width, self.defaults.height
        return {"image": Image.new("RGB", size), "mask_image": Image.new("L", size, "white")}

    def _size(self, options: RequestOptions, image: Image.Image | None) -> tuple[int, int]:
        """Return the size to make: what was given, the image's, or the default."""
        height, width = options.get("height"), options.get("width")
        if height is None and width is None:
            default = self.defaults.height, self.defaults.width
            return default if image is None else rounded_size(image, self.size_multiple)
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

    def _refuse_other_tasks(self, task: Task) -> None:
        if self.family.task == "inpainting" != task:
            raise InvalidValueError(
                "task",
                task,
                f"inpainting for this model ({self.family.title})",
                "Its UNet takes a mask and a masked picture beside the latents: give image and "
                "mask_image",
            )
