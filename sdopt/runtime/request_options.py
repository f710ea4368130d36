"""What a caller can say of a picture beside its prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from sdopt.errors import unknown_name
from sdopt.runtime.image_request import ImageOptions
from sdopt.runtime.ports import FloatArray
from sdopt.runtime.schedule_request import ScheduleOptions
from sdopt.runtime.second_pass import SecondPassOptions
from sdopt.runtime.variation import VariationOptions

OutputType = Literal["pil", "latent"]


class RequestOptions(
    ImageOptions, ScheduleOptions, VariationOptions, SecondPassOptions, total=False
):
    """What can be said of a picture beside its prompt; the keyword arguments of a pipeline.

    Beside these, those of :class:`sdopt.runtime.image_request.ImageOptions`,
    :class:`sdopt.runtime.schedule_request.ScheduleOptions`,
    :class:`sdopt.runtime.variation.VariationOptions` and
    :class:`sdopt.runtime.second_pass.SecondPassOptions`.

    Attributes:
        prompt_embeds: An encoded prompt in place of the text: (length, dim) or (1, length, dim)
            float32, where length is a multiple of 77.
        pooled_prompt_embeds: The prompt summed up: (dim,) or (1, dim) float32, with
            ``prompt_embeds`` where the UNet takes it (SDXL).
        negative_prompt: What no picture shall show; needs a guidance scale above 1. Default: the
            pipeline's, which is "" unless its operator says otherwise.
        negative_prompt_embeds: The same, encoded, in place of the text.
        negative_pooled_prompt_embeds: With ``negative_prompt_embeds``, likewise.
        clip_skip: How many of the text encoder's last layers to leave out, as in diffusers: 1 here
            is the web UI's 2. Default 0.
        guidance_scale: At least 0; 1 and below switch guidance off. Default: the bundle's.
        seed: 0 to 2**32-1; image i, over all prompts, is made from ``seed + i``. Default: drawn.
        height: In pixels, together with ``width``. Default: the bundle's.
        width: In pixels, together with ``height``.
        num_images_per_prompt: At least 1. Default 1.
        original_size: (height, width) in pixels that SDXL takes the picture to have had before it
            was resized. Default: the picture's size.
        crops_coords_top_left: (top, left) in pixels of the crop that SDXL takes it to be. Default:
            (0, 0).
        target_size: (height, width) in pixels that SDXL takes it to be resized to. Default: the
            picture's size.
        aesthetic_score: How beautiful SDXL's refiner takes it to be, 0 to 10. Default 6.
        negative_original_size: The same for the negative prompt; needs guidance. Default: as
            without ``negative_``.
        negative_crops_coords_top_left: Likewise.
        negative_target_size: Likewise.
        negative_aesthetic_score: Likewise. Default 2.5.
        output_type: ``"latent"`` to decode no pictures: the result's ``latents`` are all. Default
            ``"pil"``.
    """

    prompt_embeds: FloatArray | None
    pooled_prompt_embeds: FloatArray | None
    negative_prompt: str | None
    negative_prompt_embeds: FloatArray | None
    negative_pooled_prompt_embeds: FloatArray | None
    clip_skip: int
    guidance_scale: float
    seed: int | None
    height: int | None
    width: int | None
    num_images_per_prompt: int
    original_size: tuple[int, int] | None
    crops_coords_top_left: tuple[int, int] | None
    target_size: tuple[int, int] | None
    aesthetic_score: float | None
    negative_original_size: tuple[int, int] | None
    negative_crops_coords_top_left: tuple[int, int] | None
    negative_target_size: tuple[int, int] | None
    negative_aesthetic_score: float | None
    output_type: OutputType


def refuse_unknown(options: Mapping[str, object]) -> None:
    """Refuse options that there are not.

    Raises:
        TypeError: There is no option of this name.
    """
    names = sorted(RequestOptions.__required_keys__ | RequestOptions.__optional_keys__)
    for name in options:
        if name not in names:
            raise TypeError(unknown_name("option", name, names))
