"""Model families as data: which components a family has and how they are wired.

Nothing in sdopt asks "is this SDXL?". Export, runtime and pipeline read the rows of this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LongPrompts = Literal["chunk", "cut"]
"""What becomes of a prompt that a text encoder cannot read at once: embeddings of several chunks,
joined along the sequence; or those of the first chunk alone, with a warning."""

Guidance = Literal["classifier_free", "embedded"]
"""How a guidance scale above 1 acts: on two answers of the UNet, with and without the prompt; or
as an input of a UNet that was distilled to know it (arXiv:2210.03142)."""

Task = Literal["text_to_image", "image_to_image", "inpainting"]
"""What the UNet was trained for: all of the schedule, its end, or latents beside a masked one."""


@dataclass(frozen=True, slots=True)
class TextEncoding:
    """One way from a prompt to embeddings.

    Attributes:
        tokenizer: The tokenizer's folder, such as ``"tokenizer"``.
        component: The text encoder's component, such as ``"text_encoder"``.
        layers: The outputs of single layers, as in ``"normed_hidden_states.11"``.
        skipped: How many of the last layers are left out; none means ``last_hidden_state``.
        pooled: The output that sums up the whole prompt, where the UNet takes it.
    """

    tokenizer: str
    component: str
    layers: str
    skipped: int = 0
    pooled: str | None = None

    def output(self, num_layers: int, clip_skip: int = 0) -> str:
        """Return the output that becomes the UNet's ``encoder_hidden_states``.

        Args:
            num_layers: Of the text encoder.
            clip_skip: How many further layers to leave out.
        """
        skipped = self.skipped + clip_skip
        return f"{self.layers}.{num_layers - skipped}" if skipped else "last_hidden_state"


@dataclass(frozen=True, slots=True)
class Sign:
    """A setting by which checkpoints of a family are told from others with the same pipeline class.

    Attributes:
        setting: ``folder.key`` of a config, or ``index.key`` of model_index.json.
        values: What it may be, None for absent or null; empty for anything but that.
    """

    setting: str
    values: tuple[object, ...] = ()

    def fits(self, value: object) -> bool:
        """Say whether the setting's value is this family's."""
        return value in self.values if self.values else value is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One architecture of pipelines.

    Attributes:
        name: As in the manifest.
        title: For people.
        pipeline_classes: What ``_class_name`` may be in a checkpoint's model_index.json.
        signs: What else a checkpoint of the family must say. The first row that fits is taken.
        text_encodings: In the order in which their outputs are joined.
        long_prompts: What becomes of prompts beyond the text encoder's length.
        guidance: How guidance acts.
        time_ids: The numbers that tell the UNet about the picture's size, in this order: names of
            fields of :class:`sdopt.runtime.micro_conditioning.MicroConditioning`.
        task: What the UNet was trained for.
        num_inference_steps: What is usual, for requests that do not say.
        guidance_scale: Likewise.
        strength_shortens: Whether image to image runs all steps within the share of the schedule
            that ``strength`` says; elsewhere it leaves out those outside.
    """

    name: str
    title: str
    pipeline_classes: tuple[str, ...]
    signs: tuple[Sign, ...]
    text_encodings: tuple[TextEncoding, ...]
    long_prompts: LongPrompts = "chunk"
    guidance: Guidance = "classifier_free"
    time_ids: tuple[str, ...] = ()
    task: Task = "text_to_image"
    num_inference_steps: int = 50
    guidance_scale: float = 7.5
    strength_shortens: bool = False

    @property
    def components(self) -> tuple[str, ...]:
        """Every exported component, small ones first."""
        encoders = (encoding.component for encoding in self.text_encodings)
        return (*encoders, "vae_encoder", "vae_decoder", "unet")

    @property
    def num_time_ids(self) -> int:
        """How many numbers :attr:`time_ids` are."""
        return sum(TIME_ID_NUMBERS[name] for name in self.time_ids)

    @property
    def pooled(self) -> TextEncoding | None:
        """The encoding whose pooled output the UNet takes as ``text_embeds``, if it takes one."""
        return next((part for part in self.text_encodings if part.pooled), None)


_ONE_ENCODER = (TextEncoding("tokenizer", "text_encoder", "normed_hidden_states"),)
_SECOND_ENCODER = TextEncoding("tokenizer_2", "text_encoder_2", "hidden_states", 1, "text_embeds")
_TWO_ENCODERS = (TextEncoding("tokenizer", "text_encoder", "hidden_states", 1), _SECOND_ENCODER)

_PIPELINES = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
_INPAINTING_PIPELINES = ("StableDiffusionInpaintPipeline", "StableDiffusionPipeline")
_XL_PIPELINES = ("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline")
_XL_INPAINTING_PIPELINES = ("StableDiffusionXLInpaintPipeline", "StableDiffusionXLPipeline")
_LCM_PIPELINES = ("LatentConsistencyModelPipeline", "LatentConsistencyModelImg2ImgPipeline")

_CLIP_L = Sign("unet.use_linear_projection", (None, False))
_OPEN_CLIP_H = Sign("unet.use_linear_projection", (True,))
_LATENTS = Sign("unet.in_channels", (4,))
_LATENTS_AND_MASK = Sign("unet.in_channels", (9,))
_DISTILLED = (
    Sign("scheduler.timestep_spacing", ("trailing",)),
    Sign("scheduler.prediction_type", (None, "epsilon")),
    Sign("scheduler.rescale_betas_zero_snr", (None, False)),
)
"""Turbo models are told by the schedule that they come with: from the very last timestep on."""
_KNOWS_GUIDANCE = Sign("unet.time_cond_proj_dim")
TIME_ID_NUMBERS = {
    "original_size": 2,
    "crops_coords_top_left": 2,
    "target_size": 2,
    "aesthetic_score": 1,
}
"""How many numbers each of them is: height and width, top and left, one score."""
_SIZES = ("original_size", "crops_coords_top_left", "target_size")
_SIZES_AND_SCORE = ("original_size", "crops_coords_top_left", "aesthetic_score")

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="sd1",
            title="Stable Diffusion 1.x",
            pipeline_classes=_PIPELINES,
            signs=(_CLIP_L, _LATENTS),
            text_encodings=_ONE_ENCODER,
        ),
        Family(
            name="sd1_inpainting",
            title="Stable Diffusion 1.x inpainting",
            pipeline_classes=_INPAINTING_PIPELINES,
            signs=(_CLIP_L, _LATENTS_AND_MASK),
            text_encodings=_ONE_ENCODER,
            task="inpainting",
        ),
        Family(
            name="lcm",
            title="Latent consistency model (Stable Diffusion 1.x)",
            pipeline_classes=_LCM_PIPELINES,
            signs=(_CLIP_L, _LATENTS, _KNOWS_GUIDANCE),
            text_encodings=_ONE_ENCODER,
            guidance="embedded",
            num_inference_steps=4,
            guidance_scale=8.5,
            strength_shortens=True,
        ),
        Family(
            name="sd_turbo",
            title="SD-Turbo",
            pipeline_classes=_PIPELINES,
            signs=(_OPEN_CLIP_H, _LATENTS, *_DISTILLED),
            text_encodings=_ONE_ENCODER,
            num_inference_steps=1,
            guidance_scale=0.0,
        ),
        Family(
            name="sd2",
            title="Stable Diffusion 2.x",
            pipeline_classes=_PIPELINES,
            signs=(_OPEN_CLIP_H, _LATENTS),
            text_encodings=_ONE_ENCODER,
        ),
        Family(
            name="sd2_inpainting",
            title="Stable Diffusion 2.x inpainting",
            pipeline_classes=_INPAINTING_PIPELINES,
            signs=(_OPEN_CLIP_H, _LATENTS_AND_MASK),
            text_encodings=_ONE_ENCODER,
            task="inpainting",
        ),
        Family(
            name="sdxl_turbo",
            title="SDXL-Turbo",
            pipeline_classes=_XL_PIPELINES,
            signs=(Sign("text_encoder.hidden_size"), _LATENTS, *_DISTILLED),
            text_encodings=_TWO_ENCODERS,
            time_ids=_SIZES,
            num_inference_steps=1,
            guidance_scale=0.0,
        ),
        Family(
            name="sdxl_lcm",
            title="Latent consistency model (SDXL)",
            pipeline_classes=_XL_PIPELINES,
            signs=(Sign("text_encoder.hidden_size"), _LATENTS, _KNOWS_GUIDANCE),
            text_encodings=_TWO_ENCODERS,
            guidance="embedded",
            time_ids=_SIZES,
            num_inference_steps=4,
            guidance_scale=8.0,
        ),
        Family(
            name="sdxl",
            title="Stable Diffusion XL",
            pipeline_classes=_XL_PIPELINES,
            signs=(Sign("text_encoder.hidden_size"), _LATENTS),
            text_encodings=_TWO_ENCODERS,
            time_ids=_SIZES,
            guidance_scale=5.0,
        ),
        Family(
            name="sdxl_refiner",
            title="Stable Diffusion XL refiner",
            pipeline_classes=_XL_PIPELINES,
            signs=(Sign("index.requires_aesthetics_score", (True,)), _LATENTS),
            text_encodings=(_SECOND_ENCODER,),
            time_ids=_SIZES_AND_SCORE,
            task="image_to_image",
            guidance_scale=5.0,
        ),
        Family(
            name="sdxl_inpainting",
            title="Stable Diffusion XL inpainting",
            pipeline_classes=_XL_INPAINTING_PIPELINES,
            signs=(Sign("text_encoder.hidden_size"), _LATENTS_AND_MASK),
            text_encodings=_TWO_ENCODERS,
            time_ids=_SIZES,
            task="inpainting",
        ),
    )
}
