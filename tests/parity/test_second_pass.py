"""Hires fix and variations are the same steps done with diffusers, one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sdopt.errors import InvalidValueError, UnknownNameError
from sdopt.pipeline import Pipeline
from sdopt.runtime.variation import VariedNoise
from tests.parity.families import MEAN_TOLERANCE, Family

torch = pytest.importorskip("torch", reason="needs sdopt[export]")
diffusers = pytest.importorskip("diffusers", reason="needs sdopt[export]")
pytestmark = pytest.mark.usefixtures("one_torch_thread")

PROMPT, SEED = "a blue square on a green background", 7
UPSCALERS = {
    "latent": {"mode": "bilinear"},
    "latent_bicubic_antialiased": {"mode": "bicubic", "antialias": True},
    "latent_nearest_exact": {"mode": "nearest-exact"},
}
SIZE, LARGER = (96, 104), (144, 152)


@pytest.fixture(scope="module")
def theirs(shapes_checkpoint: Path) -> Any:
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
        shapes_checkpoint, dtype=torch.float32, safety_checker=None, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def two_steps(theirs: Any, enlarge: Any, steps: int, strength: float, **options: Any) -> Any:
    """Run diffusers' text to image, something in between, and its image to image."""

    def seeded() -> Any:
        return torch.Generator("cpu").manual_seed(SEED)

    again = diffusers.AutoPipelineForImage2Image.from_pipe(theirs)
    again.set_progress_bar_config(disable=True)
    height, width = SIZE
    first = theirs(
        PROMPT, height=height, width=width, num_inference_steps=6, generator=seeded(),
        output_type="latent", **options,
    ).images  # fmt: skip
    image = enlarge(first)
    made = again(
        PROMPT, image=image, num_inference_steps=steps, strength=strength, generator=seeded(),
        **options,
    )  # fmt: skip
    return np.asarray(made.images[0]).astype(int)


def ours_of(shapes: Pipeline, **options: Any) -> Any:
    height, width = SIZE
    result = shapes(
        PROMPT,
        height=height,
        width=width,
        seed=SEED,
        num_inference_steps=6,
        hr_scale=1.5,
        **options,
    )
    return np.asarray(result.images[0]).astype(int)


@pytest.mark.parametrize("upscaler", UPSCALERS)
def test_latent_upscalers(shapes: Pipeline, theirs: Any, upscaler: str) -> None:
    """6 steps at 0.7 are the last 6 of int(6 / 0.7) = 8, a strength of just above 6 / 8."""

    def enlarge(latents: Any) -> Any:
        return torch.nn.functional.interpolate(latents, size=(18, 19), **UPSCALERS[upscaler])

    again = diffusers.StableDiffusionImg2ImgPipeline(
        **theirs.components, requires_safety_checker=False
    )
    again.set_progress_bar_config(disable=True)
    expected = two_steps(theirs, enlarge, 8, 0.76, guidance_scale=4.0)
    made = ours_of(shapes, hr_upscaler=upscaler, guidance_scale=4.0)
    assert made.shape == expected.shape == (*LARGER, 3)
    assert np.abs(made - expected).mean() <= MEAN_TOLERANCE
    other = ours_of(shapes, hr_upscaler=upscaler, guidance_scale=4.0, hr_strength=0.3)
    assert np.abs(other - expected).mean() > 4 * MEAN_TOLERANCE


def test_picture_upscalers(shapes: Pipeline, theirs: Any) -> None:
    def enlarge(latents: Any) -> Any:
        with torch.no_grad():
            sample = theirs.vae.decode(latents / theirs.vae.config.scaling_factor).sample
        (picture,) = theirs.image_processor.postprocess(sample, output_type="pil")
        return picture.resize(LARGER[::-1], Image.Resampling.LANCZOS)

    again = diffusers.StableDiffusionImg2ImgPipeline(
        **theirs.components, requires_safety_checker=False
    )
    again.set_progress_bar_config(disable=True)
    expected = two_steps(theirs, enlarge, 10, 0.45, guidance_scale=1.0)
    made = ours_of(
        shapes, hr_upscaler="Lanczos", guidance_scale=1.0, hr_strength=0.4, hr_second_pass_steps=4
    )
    assert np.abs(made - expected).mean() <= MEAN_TOLERANCE


def test_with_two_text_encoders_and_sizes(common: dict[str, Family]) -> None:
    family = common["sdxl"]

    def enlarge(latents: Any) -> Any:
        return torch.nn.functional.interpolate(latents, size=(18, 19), mode="bilinear")

    expected = two_steps(family.theirs, enlarge, 8, 0.76, guidance_scale=5.0)
    made = ours_of(family.ours, guidance_scale=5.0)
    assert np.abs(made - expected).mean() <= MEAN_TOLERANCE


def test_variations_start_from_noise_in_between(shapes: Pipeline, theirs: Any) -> None:
    noise = torch.from_numpy(VariedNoise(SEED, 11, 0.3).start((1, 4, 12, 13)))
    options: Any = {"num_inference_steps": 6, "guidance_scale": 4.0, "height": 96, "width": 104}
    expected = np.asarray(theirs(PROMPT, latents=noise, **options).images[0]).astype(int)
    made = shapes(PROMPT, seed=SEED, subseed=11, subseed_strength=0.3, **options).images[0]
    assert np.abs(np.asarray(made).astype(int) - expected).mean() <= MEAN_TOLERANCE
    plain = np.asarray(shapes(PROMPT, seed=SEED, **options).images[0]).astype(int)
    assert np.abs(plain - expected).mean() > 4 * MEAN_TOLERANCE


def test_two_passes_step_by_step_and_again(shapes: Pipeline) -> None:
    request = shapes.request(
        PROMPT, num_inference_steps=4, hr_scale=2, num_images_per_prompt=2, seed=1,
        subseed_strength=0.1, hr_upscaler="Latent (nearest-exact)",
    )  # fmt: skip
    generation = shapes.start(request, previews=True)
    steps = list(generation)
    assert [step.completed for step in steps] == [2, 4, 6, 8, 10, 12, 14, 16]
    assert steps[0].previews[1].size == (12, 12)
    assert steps[-1].previews[1].size == (24, 24)
    result = generation.result
    assert [image.size for image in result.images] == [(192, 192)] * 2
    settings: Any = result.settings(1)
    assert (settings["height"], settings["hr_scale"], settings["hr_strength"]) == (96, 2.0, 0.7)
    assert settings["hr_upscaler"] == "latent_nearest_exact"
    del settings["concepts"]
    assert shapes(**settings).images[0].tobytes() == result.images[1].tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"hr_scale": 1},
            "hr_scale=1 is not allowed. hr_scale is a number above 1 and up to 8.",
        ),
        (
            {"hr_strength": 0.5},
            "hr_strength=0.5 is not allowed. hr_strength is not given where hr_scale is not.",
        ),
        (
            {"hr_scale": 2, "hr_strength": 0},
            "hr_strength=0 is not allowed. hr_strength is a number above 0 and up to 1.",
        ),
        (
            {"hr_scale": 2, "hr_strength": 0.01, "num_inference_steps": 20},
            "hr_strength=0.01 is not allowed. hr_strength is at least 0.02 with 20 steps. They are "
            "the end of a schedule that may have 1000 at most.",
        ),
        (
            {"hr_scale": 2, "hr_second_pass_steps": 0},
            "hr_second_pass_steps=0 is not allowed. hr_second_pass_steps is a whole number from 1 "
            "to 1000.",
        ),
        (
            {"hr_scale": 2, "image": Image.new("RGB", (96, 96))},
            "image='given' is not allowed. image is not given where hr_scale is.",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused(
    shapes: Pipeline, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidValueError) as caught:
        shapes.request(PROMPT, **options)
    assert str(caught.value) == message


def test_an_unknown_upscaler(shapes: Pipeline) -> None:
    with pytest.raises(UnknownNameError) as caught:
        shapes.request(PROMPT, hr_scale=2, hr_upscaler="Latent (cubic)")
    assert str(caught.value).startswith(
        "Unknown hr_upscaler 'Latent (cubic)'. Did you mean 'latent_bicubic'? Choices: latent, "
    )
