"""Every family gives diffusers' pictures: same seeds, same options, on the CPU in fp32.

Tolerance as in test_diffusers_parity.py: another order of summation stays far below one 8-bit level
but for pixels that lie on a rounding edge.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

import sdopt
from sdopt.bundle.bundle import Bundle
from sdopt.bundle.families import FAMILIES
from sdopt.bundle.loop_graphs import LOOP_GRAPHS
from sdopt.errors import InvalidValueError
from sdopt.pipeline import Pipeline
from tests.parity.families import COMMON, HALF, MAX_TOLERANCE, MEAN_TOLERANCE, PROMPT, SEED, Family

NEGATIVE = "a green square"
PICTURE = Image.new("RGB", (96, 96), "yellow")
SIZES = {"default": (96, 96), "odd": (136, 200)}


def check(family: Family, guidance_scale: float, **options: Any) -> None:
    for height, width in SIZES.values():
        common = {"num_inference_steps": 4, "guidance_scale": guidance_scale}
        difference = family.difference(height=height, width=width, **common, **options)
        assert difference.mean() <= MEAN_TOLERANCE
        assert difference.max() <= MAX_TOLERANCE


CASES: list[tuple[str, float, dict[str, Any]]] = [
    ("sd2", 5.0, {"negative_prompt": NEGATIVE}),
    ("sd2", 1.0, {}),
    ("sd_turbo", 0.0, {}),
    ("lcm", 8.5, {}),
    ("lcm", 1.0, {}),
    ("sdxl", 5.0, {}),
    ("sdxl", 5.0, {"negative_prompt": ""}),
    ("sdxl", 5.0, {"negative_prompt": NEGATIVE}),
    (
        "sdxl",
        5.0,
        {
            "original_size": (512, 768),
            "crops_coords_top_left": (16, 32),
            "target_size": (640, 640),
            "negative_original_size": (256, 256),
            "negative_crops_coords_top_left": (0, 8),
            "negative_target_size": (320, 320),
        },
    ),
    ("sdxl_turbo", 0.0, {}),
]


@pytest.mark.parametrize(("name", "guidance_scale", "options"), CASES)
def test_pictures_are_diffusers(
    common: dict[str, Family], name: str, guidance_scale: float, options: dict[str, Any]
) -> None:
    check(common[name], guidance_scale, **options)


@pytest.mark.slow
def test_rare_families_are_diffusers(rare: dict[str, Family]) -> None:
    check(rare["sdxl_lcm"], 8.0)


def test_the_comparison_can_fail(common: dict[str, Family]) -> None:
    """Another seed, or another size to be told of, is outside the tolerance."""
    family = common["sdxl"]
    size = {"height": 96, "width": 96, "num_inference_steps": 4, "guidance_scale": 5.0}
    assert family.difference(seed_shift=1, **size).mean() > 10 * MEAN_TOLERANCE
    pictures = [
        family.ours(PROMPT, seed=SEED, original_size=original, **size).images[0]  # type: ignore[arg-type]
        for original in ((96, 96), (512, 768))
    ]
    assert pictures[0].tobytes() != pictures[1].tobytes()


@pytest.mark.parametrize("name", COMMON)
def test_checkpoints_are_known_by_what_they_say(common: dict[str, Family], name: str) -> None:
    manifest = common[name].ours.bundle.manifest
    family = FAMILIES[name]
    assert manifest.family == name
    assert set(manifest.components) == {*family.components, *LOOP_GRAPHS}
    assert manifest.defaults.num_inference_steps == family.num_inference_steps
    assert manifest.defaults.guidance_scale == family.guidance_scale
    assert manifest.zero_negative_prompt is (family.pooled is not None)


def test_a_row_of_each_condition_for_each_row_of_the_unet(common: dict[str, Family]) -> None:
    def inputs(name: str) -> list[str]:
        bundle: Bundle = common[name].ours.bundle
        return [str(spec) for spec in bundle.component("unet").inputs[3:]]

    ids = ["text_embeds: float32[batch, 24]", "time_ids: float32[batch, 6]"]
    assert inputs("sdxl") == ids
    assert inputs("sdxl_refiner") == [ids[0], "time_ids: float32[batch, 5]"]
    assert inputs("lcm") == ["timestep_cond: float32[batch, 32]"]
    assert inputs("sd2") == []


def test_half_precision_leaves_the_vae_and_the_sizes_alone(common: dict[str, Family]) -> None:
    bundle = common[HALF].ours.bundle
    precisions = {name: part.precision for name, part in bundle.manifest.components.items()}
    assert precisions == {
        "text_encoder": "fp16",
        "text_encoder_2": "fp16",
        "vae_encoder": "fp32",
        "vae_decoder": "fp32",
        "unet": "fp16",
        **dict.fromkeys(LOOP_GRAPHS, "fp32"),
    }
    assert [str(spec) for spec in bundle.component("unet").inputs[3:]] == [
        "text_embeds: float16[batch, 24]",
        "time_ids: float32[batch, 6]",
    ]
    islands = {n: [i.name for i in c.islands] for n, c in bundle.manifest.components.items()}
    assert islands == {
        "text_encoder": ["norm_statistics"],
        "text_encoder_2": ["norm_statistics"],
        "vae_encoder": ["vae"],
        "vae_decoder": ["vae"],
        "unet": ["norm_statistics", "timestep_embedding"],
        **{name: [] for name in LOOP_GRAPHS},
    }
    timesteps = bundle.component("unet").islands[-1]
    assert (timesteps.name, timesteps.nodes) == ("timestep_embedding", 19)
    options = {"height": 96, "width": 96, "num_inference_steps": 4, "guidance_scale": 5.0}
    assert common[HALF].difference(**options).mean() < 2  # theirs is in fp32


def test_requests_of_different_prompts_share_calls(common: dict[str, Family]) -> None:
    """Each row has its own pooled prompt: a picture is the same bit for bit in company."""
    ours = common["sdxl"].ours
    options = {"num_inference_steps": 2, "seed": SEED, "height": 96, "width": 96}
    together = ours(["a star", PROMPT], **options).images  # type: ignore[arg-type]
    alone = ours(PROMPT, **options | {"seed": SEED + 1}).images[0]  # type: ignore[arg-type]
    assert together[1].tobytes() == alone.tobytes()


def test_long_and_weighted_prompts_with_two_encoders(common: dict[str, Family]) -> None:
    ours = common["sdxl"].ours
    options = {"num_inference_steps": 2, "seed": SEED, "height": 96, "width": 96}
    long = "a " * 80
    texts = [long + "red", long + "blue", "a (red:1.4) circle", "a red circle"]
    pictures = [ours(text, **options).images[0].tobytes() for text in texts]  # type: ignore[arg-type]
    assert len(set(pictures)) == len(texts)


def test_settings_make_the_picture_again(common: dict[str, Family]) -> None:
    ours = common["sdxl"].ours
    first = ours(PROMPT, num_inference_steps=2, target_size=(640, 512), height=96, width=96)
    settings = first.settings(0)
    assert settings["negative_prompt"] is None
    assert settings["target_size"] == [640, 512]
    del settings["concepts"]
    again = ours(**settings)  # type: ignore[arg-type]
    assert first.images[0].tobytes() == again.images[0].tobytes()


def test_given_embeddings_need_their_pooled_ones(common: dict[str, Family]) -> None:
    ours = common["sdxl"].ours
    embeds, pooled = np.ones((77, 40), np.float32), np.ones(24, np.float32)
    options: Any = {"num_inference_steps": 1, "seed": 0, "height": 64, "width": 64}
    pictures = [
        ours(prompt_embeds=embeds, pooled_prompt_embeds=x, **options).images[0].tobytes()
        for x in (pooled, -pooled)
    ]
    assert pictures[0] != pictures[1]
    assert refusal(ours, None, prompt_embeds=embeds) == (
        "pooled_prompt_embeds=None is not allowed. "
        "pooled_prompt_embeds is required where prompt_embeds is given."
    )
    assert refusal(ours, None, prompt_embeds=embeds, pooled_prompt_embeds=pooled[1:]) == (
        "pooled_prompt_embeds.shape=(23,) is not allowed. "
        "pooled_prompt_embeds.shape is (24,) or (1, 24)."
    )
    assert refusal(ours, PROMPT, pooled_prompt_embeds=pooled) == (
        "pooled_prompt_embeds=<array> is not allowed. "
        "pooled_prompt_embeds is not given where prompt_embeds is not."
    )


@pytest.mark.parametrize("name", ["sd2", "lcm", "sdxl"])
def test_explained_is_what_is_made(common: dict[str, Family], name: str) -> None:
    ours = common[name].ours
    options: Any = {"num_inference_steps": 8, "height": 64, "width": 72}
    explained = sdopt.explain(PICTURE, PROMPT, pipeline=ours, seed=SEED, **options)
    made = ours(PROMPT, seed=SEED, **options).images[0]
    assert explained.finished.tobytes() == made.tobytes()
    told = [[look.moment.timestep for look in x] for x in (explained.noised, explained.generation)]
    assert told[0] == told[1]
    assert len(told[0]) == 6
    with pytest.raises(InvalidValueError, match="task is inpainting for this model"):
        sdopt.explain(PICTURE, PROMPT, pipeline=common["sd1_inpainting"].ours)


def refusal(pipeline: Pipeline, prompt: str | None, **options: Any) -> str:
    with pytest.raises(InvalidValueError) as error:
        pipeline.request(prompt, **options)
    return str(error.value)


def test_what_has_no_effect_is_refused(common: dict[str, Family]) -> None:
    sdxl, refiner, lcm, sd2, inpainting = (
        common[name].ours for name in ("sdxl", "sdxl_refiner", "lcm", "sd2", "sd1_inpainting")
    )
    assert refusal(sd2, PROMPT, target_size=(64, 64)) == (
        "target_size=(64, 64) is not allowed. target_size is not given with this model, whose "
        "UNet does not take it."
    )
    assert refusal(refiner, PROMPT, image=PICTURE, target_size=(64, 64)) == (
        "target_size=(64, 64) is not allowed. target_size is not given with this model, whose UNet "
        "does not take it; it takes original_size, crops_coords_top_left, aesthetic_score."
    )
    assert refusal(sdxl, PROMPT, negative_target_size=(64, 64), guidance_scale=1) == (
        "negative_target_size=(64, 64) is not allowed. negative_target_size is not given without "
        "guidance. Raise guidance_scale above 1, or leave it out."
    )
    assert refusal(sdxl, PROMPT, original_size=(64, 6.5)) == (
        "original_size=(64, 6.5) is not allowed. "
        "original_size is two whole numbers of pixels from 0 to 65536."
    )
    assert refusal(refiner, PROMPT, image=PICTURE, aesthetic_score=float("nan")) == (
        "aesthetic_score=nan is not allowed. aesthetic_score is a finite number, usually 0 to 10."
    )
    assert refusal(lcm, PROMPT, negative_prompt="a star") == (
        "negative_prompt='a star' is not allowed. negative_prompt is not given with this model. "
        "Its UNet was distilled with guidance away from an empty prompt, once and for all."
    )
    with pytest.raises(InvalidValueError) as error:
        sdopt.load(lcm.bundle.path, default_negative_prompt="blurry")
    assert str(error.value) == (
        "default_negative_prompt='blurry' is not allowed. default_negative_prompt is empty with "
        "this model (Latent consistency model (Stable Diffusion 1.x)). Its UNet was distilled with "
        "guidance away from an empty prompt, once and for all."
    )
    assert refusal(refiner, PROMPT) == (
        "task='text_to_image' is not allowed. task is image_to_image or inpainting for this model "
        "(Stable Diffusion XL refiner). Its UNet knows the end of the schedule alone: give image, "
        "or load it beside its base, sdopt.load(base, refiner=...)."
    )
    assert refusal(inpainting, PROMPT) == (
        "task='text_to_image' is not allowed. task is inpainting for this model (Stable Diffusion "
        "1.x inpainting). Its UNet takes a mask and a masked picture beside the latents: give "
        "image and mask_image."
    )
