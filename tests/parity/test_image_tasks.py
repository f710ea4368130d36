"""Image to image and inpainting give diffusers' pictures, at two sizes, with UNets of both kinds.

Tolerance: the mean absolute difference of the 8-bit pictures is at most 0.5. Single pixels may
differ by more than from text: the VAE's encoder rounds too, and edges of shapes are steep.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

import sdopt
from sdopt.errors import InvalidValueError
from sdopt.pipeline import Pipeline
from tests.parity.families import MEAN_TOLERANCE, Family
from tests.parity.tasks import PROMPT, SCHEDULERS, SIZES, STEPS, difference, picture

torch = pytest.importorskip("torch", reason="needs sdopt[export]")
pytestmark = pytest.mark.usefixtures("one_torch_thread")


def check(ours: Pipeline, theirs: Any, **options: Any) -> None:
    for size in SIZES.values():
        apart = difference(ours, theirs, size, {"num_inference_steps": STEPS, **options})
        assert apart.mean() <= MEAN_TOLERANCE


@pytest.fixture(scope="module")
def shapes_tasks(shapes_checkpoint: Path) -> dict[str, Any]:
    """diffusers' pipelines of the carried checkpoint, by task."""
    from diffusers import StableDiffusionPipeline

    return by_task(
        StableDiffusionPipeline.from_pretrained(
            shapes_checkpoint, dtype=torch.float32, safety_checker=None, local_files_only=True
        )
    )


def by_task(pipeline: Any) -> dict[str, Any]:
    from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting

    kinds = {"image_to_image": AutoPipelineForImage2Image, "inpainting": AutoPipelineForInpainting}
    pipelines = {task: kind.from_pipe(pipeline) for task, kind in kinds.items()}
    for made in pipelines.values():
        made.set_progress_bar_config(disable=True)
    return pipelines


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("task", ["image_to_image", "inpainting"])
def test_pictures_are_diffusers(
    shapes: Pipeline, shapes_tasks: dict[str, Any], task: str, scheduler: str
) -> None:
    check(shapes, shapes_tasks[task], scheduler=scheduler, strength=0.7, guidance_scale=4.0)


@pytest.mark.parametrize("task", ["image_to_image", "inpainting"])
def test_at_full_strength(shapes: Pipeline, shapes_tasks: dict[str, Any], task: str) -> None:
    check(shapes, shapes_tasks[task], strength=1.0, guidance_scale=4.0)


def test_the_comparison_can_fail(shapes: Pipeline, shapes_tasks: dict[str, Any]) -> None:
    options = {"num_inference_steps": STEPS, "strength": 0.7, "guidance_scale": 4.0}
    theirs = shapes_tasks["image_to_image"]
    assert difference(shapes, theirs, (96, 96), options, shift=1).mean() > 4 * MEAN_TOLERANCE


FAMILIES = [
    ("sd2", "image_to_image", 0.6, 5.0),
    ("sd2", "inpainting", 1.0, 5.0),
    ("sdxl", "image_to_image", 0.6, 5.0),
    ("sdxl", "inpainting", 0.8, 5.0),
    ("sdxl_turbo", "image_to_image", 0.6, 0.0),
    ("sdxl_refiner", "image_to_image", 0.3, 5.0),
    ("sd1_inpainting", "inpainting", 1.0, 5.0),
    ("sd1_inpainting", "inpainting", 0.6, 5.0),
]


@pytest.mark.parametrize(("name", "task", "strength", "guidance_scale"), FAMILIES)
def test_every_family_does_it(
    common: dict[str, Family], name: str, task: str, strength: float, guidance_scale: float
) -> None:
    family = common[name]
    theirs = by_task(family.theirs)[task]
    check(family.ours, theirs, strength=strength, guidance_scale=guidance_scale)


@pytest.mark.parametrize("strength", [0.4, 0.8, 1.0])
def test_consistency_models_run_all_their_steps(common: dict[str, Family], strength: float) -> None:
    from diffusers import LatentConsistencyModelImg2ImgPipeline

    family = common["lcm"]
    theirs = LatentConsistencyModelImg2ImgPipeline.from_pipe(family.theirs)
    theirs.set_progress_bar_config(disable=True)
    check(family.ours, theirs, strength=strength, guidance_scale=8.5)
    size: Any = {"height": 64, "width": 64}
    request = family.ours.request(PROMPT, image=picture((64, 64)), strength=strength, **size)
    assert request.plan.stages == request.num_inference_steps == 4
    assert request.plan.timesteps[0] == int(50 * strength) * 20 - 1
    result = family.ours.start(request).result
    settings = result.settings(0)
    assert (settings["num_inference_steps"], settings["strength"]) == (4, strength)
    with pytest.raises(InvalidValueError) as error:
        family.ours.request(PROMPT, image=picture((64, 64)), strength=0.06)
    assert str(error.value) == (
        "strength=0.06 is not allowed. strength is at least num_inference_steps / "
        "original_inference_steps = 0.08. This model runs all its steps, within that share of "
        "those that it was distilled on."
    )
    for wrong in (0.0, 2.0):
        with pytest.raises(InvalidValueError, match="strength is a number above 0 and up to 1"):
            family.ours.request(PROMPT, image=picture((64, 64)), strength=wrong)


def test_what_is_outside_the_mask_stays(shapes: Pipeline) -> None:
    """The known region is the VAE's reconstruction of it, whatever the prompt says."""
    image = picture((96, 96))
    options: Any = {"image": image, "num_inference_steps": 4, "seed": 0}
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).rectangle((70, 70, 109, 104), fill=255)
    made = [
        np.asarray(shapes(prompt, mask_image=mask, **options).images[0]).astype(int)
        for prompt in (PROMPT, "a black star on a white background")
    ]
    assert np.abs(made[0] - made[1])[:40, :40].mean() < 1
    assert np.abs(made[0] - made[1])[-20:, -20:].mean() > 10


def test_the_masked_area_alone_leaves_the_rest_to_the_last_bit(shapes: Pipeline) -> None:
    image = picture((200, 200))
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).rectangle((120, 120, 180, 180), fill=255)
    result = shapes(
        PROMPT, image=image, mask_image=mask, padding_mask_crop=8, height=96, width=96, seed=0,
        num_inference_steps=4,
    )  # fmt: skip
    made, before, marked = (np.asarray(x) for x in (result.images[0], image, mask))
    assert result.images[0].size == image.size
    assert (made[marked == 0] == before[marked == 0]).all()
    assert (made[marked > 0] != before[marked > 0]).any()
    settings = result.settings(0)
    assert (settings["padding_mask_crop"], settings["strength"]) == (8, 1.0)


def test_an_inpainting_unet_needs_a_mask(common: dict[str, Family]) -> None:
    ours = common["sd1_inpainting"].ours
    for options in ({}, {"image": picture((96, 96))}):
        with pytest.raises(InvalidValueError, match="give image and mask_image"):
            ours(PROMPT, num_inference_steps=1, **options)  # type: ignore[arg-type]


def test_an_inpainting_pipeline_warms_up(common: dict[str, Family]) -> None:
    assert common["sd1_inpainting"].ours.warmup().unet_ms > 0


def test_the_encoder_is_loaded_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = sdopt.pipeline.open_engine

    def open_engine(engine: str, model: Any, *rest: Any) -> Any:
        opened.append(model.name)
        return real(engine, model, *rest)

    monkeypatch.setattr(sdopt.pipeline, "open_engine", open_engine)
    pipeline = sdopt.load("shapes")
    pipeline(PROMPT, num_inference_steps=1, seed=0)
    assert "vae_encoder" not in opened
    for _ in range(2):
        pipeline(PROMPT, image=picture((96, 96)), num_inference_steps=2, seed=0)
    assert opened.count("vae_encoder") == 1
