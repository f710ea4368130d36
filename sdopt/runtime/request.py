"""What a caller asks for, checked and with every default filled in."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from sdopt.bundle.families import Guidance
from sdopt.runtime.concept_file import Concept
from sdopt.runtime.image_request import ImageRequest
from sdopt.runtime.micro_conditioning import MicroConditions
from sdopt.runtime.noise import NoiseStream
from sdopt.runtime.prompt_embeds import Prompt, prompt_as_json
from sdopt.runtime.request_options import OutputType
from sdopt.runtime.schedule_request import ScheduleRequest
from sdopt.runtime.schedulers import Plan
from sdopt.runtime.second_pass import SecondPass
from sdopt.runtime.variation import Variation


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One request for pictures, as :class:`sdopt.runtime.request_rules.RequestRules` makes it.

    Attributes:
        prompts: At least one; ``num_images_per_prompt`` pictures are made of each.
        negative_prompt: What the pictures shall not show.
        clip_skip: How many of the text encoder's last layers are left out.
        concepts: What the prompts could name, by textual inversion.
        schedule: The way from noise.
        guidance_scale: At least 0; guidance is off at 1 and below.
        seed: 0 to 2**32-1. Picture i of the request, counted over all prompts, is made from
            ``seed + i``; variations all from it.
        height: In pixels.
        width: In pixels.
        num_images_per_prompt: At least 1.
        guidance: How guidance acts.
        micro: What the UNet is told about the picture's size, where the family does that.
        image: What the pictures start from; None for text to image.
        variation: How the pictures vary one picture; None where each has a seed of its own.
        second: What is made of the latents that this leaves; None where they are the picture's.
        output_type: Whether pictures are wanted, or latents alone.
    """

    prompts: tuple[Prompt, ...]
    negative_prompt: Prompt
    clip_skip: int
    concepts: tuple[Concept, ...]
    schedule: ScheduleRequest
    guidance_scale: float
    seed: int
    height: int
    width: int
    num_images_per_prompt: int
    guidance: Guidance = "classifier_free"
    micro: MicroConditions | None = None
    image: ImageRequest | None = None
    variation: Variation | None = None
    second: SecondPass | None = None
    output_type: OutputType = "pil"

    @property
    def plan(self) -> Plan:
        """The scheduler, compiled; that of the first pass where there are two."""
        return self.schedule.plan

    @property
    def num_inference_steps(self) -> int:
        """Steps of the full schedule."""
        return self.schedule.num_inference_steps

    @property
    def evaluations(self) -> int:
        """Evaluations of a UNet for one picture, over both passes."""
        second = self.second.request.plan.stages if self.second else 0
        return self.plan.stages + second

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
        """The seed of each picture; variations share one."""
        step = 1 if self.variation is None else 0
        return tuple(self.seed + step * index for index in range(self.num_images))

    def noise_of(self, index: int) -> NoiseStream:
        """Return the stream of picture ``index``, from its beginning."""
        if self.variation is None:
            return NoiseStream(self.seeds[index])
        return self.variation.noise(self.seed, index)

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
            **self.schedule.settings,
            "guidance_scale": self.guidance_scale,
            "seed": self.seeds[index],
            "height": self.height,
            "width": self.width,
            **({} if self.micro is None else self.micro.settings()),
            **({} if self.image is None else self.image.settings),
            **({} if self.variation is None else self.variation.settings(index)),
            **({} if self.second is None else self.second.settings),
        }
