"""A base hands its latents over to a refiner, in one call, as diffusers' two pipelines do.

diffusers gets one generator for both pipelines, so that the noise goes on in the second.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sdopt
from sdopt.errors import InvalidValueError
from sdopt.pipeline import Pipeline
from sdopt.runtime.handover import check_refiner
from tests.parity.families import MEAN_TOLERANCE, PROMPT, SEED, Family

torch = pytest.importorskip("torch", reason="needs sdopt[export]")
pytestmark = pytest.mark.usefixtures("one_torch_thread")

STEPS = 10
SIZES = {"default": (96, 96), "odd": (136, 200)}
PICTURE = Image.new("RGB", (96, 96), "yellow")
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "heun": ("HeunDiscreteScheduler", {}),
}


@pytest.fixture(scope="module")
def both(common: dict[str, Family]) -> Pipeline:
    """Base and refiner."""
    base, refiner = common["sdxl"].ours.bundle.path, common["sdxl_refiner"].ours.bundle.path
    return sdopt.load(base, refiner=refiner)


def their_picture(common: dict[str, Family], share: float, name: str, **options: Any) -> Any:
    """Run diffusers' two pipelines, one after the other."""
    import diffusers

    base, refiner = common["sdxl"].theirs, common["sdxl_refiner"].theirs
    class_name, settings = SCHEDULERS[name]
    before = base.scheduler, refiner.scheduler
    for pipeline in (base, refiner):
        kind = getattr(diffusers, class_name)
        pipeline.register_modules(scheduler=kind.from_config(before[0].config, **settings))
    generator = torch.Generator("cpu").manual_seed(SEED)
    size = {side: options.pop(side) for side in ("height", "width")}
    scores = {key: options.pop(key) for key in tuple(options) if key.endswith("score")}
    asked = {"num_inference_steps": STEPS, "generator": generator, "guidance_scale": 5.0, **options}
    latents = base(PROMPT, denoising_end=share, output_type="latent", **size, **asked).images
    asked.pop("target_size", None)
    picture = refiner(PROMPT, image=latents, denoising_start=share, **asked, **scores).images[0]
    base.register_modules(scheduler=before[0])
    refiner.register_modules(scheduler=before[1])
    return np.asarray(picture).astype(int)


def our_picture(both: Pipeline, **options: Any) -> Any:
    asked = {"num_inference_steps": STEPS, "seed": SEED, "guidance_scale": 5.0, **options}
    return np.asarray(both(PROMPT, **asked).images[0]).astype(int)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_pictures_are_diffusers(common: dict[str, Family], both: Pipeline, name: str) -> None:
    for height, width in SIZES.values():
        size = {"height": height, "width": width}
        ours = our_picture(both, handover=0.7, scheduler=name, **size)
        theirs = their_picture(common, 0.7, name, **size)
        assert np.abs(ours - theirs).mean() <= MEAN_TOLERANCE
        earlier = our_picture(both, handover=0.3, scheduler=name, **size)
        assert np.abs(earlier - theirs).mean() > 4 * MEAN_TOLERANCE


def test_each_model_is_told_what_it_takes(common: dict[str, Family], both: Pipeline) -> None:
    told: dict[str, Any] = {
        "negative_prompt": "a green square",
        "original_size": (512, 768),
        "target_size": (640, 640),
        "aesthetic_score": 9.0,
        "negative_aesthetic_score": 1.0,
        "height": 96,
        "width": 96,
    }
    ours = our_picture(both, **told)
    assert np.abs(ours - their_picture(common, 0.8, "euler", **told)).mean() <= MEAN_TOLERANCE
    for changed in ({"target_size": (96, 96)}, {"aesthetic_score": 0.0}):
        assert (our_picture(both, **told | changed) != ours).any()


def test_the_latents_go_over_without_the_vae(common: dict[str, Family], both: Pipeline) -> None:
    """And the same by two calls, with schedulers that draw no noise on the way."""
    options: Any = {"num_inference_steps": STEPS, "seed": SEED, "num_images_per_prompt": 2}
    result = both(PROMPT, height=96, width=96, **options)
    assert result.timings.vae_encoder_ms == 0
    base, refiner = common["sdxl"].ours, common["sdxl_refiner"].ours
    first = base(PROMPT, height=96, width=96, denoising_end=0.8, output_type="latent", **options)
    assert first.images == ()
    second = refiner(PROMPT, image=np.stack(first.latents), denoising_start=0.8, **options)
    assert [x.tobytes() for x in second.images] == [x.tobytes() for x in result.images]
    assert result.images[0].tobytes() != result.images[1].tobytes()


def test_from_a_picture_and_in_steps(both: Pipeline) -> None:
    request = both.request(PROMPT, image=PICTURE, strength=0.6, num_inference_steps=10, seed=0)
    generation = both.start(request, previews=True)
    steps = list(generation)
    assert [step.completed for step in steps] == [1, 2, 3, 4, 5, 6]
    assert {step.total for step in steps} == {6}
    assert all(len(step.previews) == 1 for step in steps)
    assert len(generation.result.images) == 1


def test_settings_make_the_picture_again(both: Pipeline) -> None:
    first = both(PROMPT, num_inference_steps=5, height=96, width=96, aesthetic_score=3.0)
    settings = first.settings(0)
    assert (settings["handover"], settings["aesthetic_score"]) == (0.8, 3.0)
    assert "denoising_end" not in settings
    del settings["concepts"]
    again = both(**settings)  # type: ignore[arg-type]
    assert first.images[0].tobytes() == again.images[0].tobytes()


def test_two_passes_are_not_explained(both: Pipeline) -> None:
    with pytest.raises(InvalidValueError) as error:
        sdopt.explain(PICTURE, PROMPT, pipeline=both)
    assert str(error.value) == (
        "pipeline.refiner='bundle' is not allowed. pipeline.refiner is None."
    )


def test_it_warms_up(both: Pipeline) -> None:
    assert both.warmup().unet_ms > 0
    assert both.refiner is not None
    assert both.refiner.step_times is not None


def refusal(pipeline: Pipeline, **options: Any) -> str:
    with pytest.raises(InvalidValueError) as error:
        pipeline.request(PROMPT, **options)
    return str(error.value)


def test_what_cannot_be_done_is_refused(common: dict[str, Family], both: Pipeline) -> None:
    assert refusal(common["sdxl"].ours, handover=0.8) == (
        "handover=0.8 is not allowed. handover is not given without a refiner. Load one beside the "
        "base: sdopt.load(base, refiner=...)."
    )
    assert refusal(both, handover=1.5) == (
        "handover=1.5 is not allowed. handover is a number between 0 and 1."
    )
    assert refusal(both, denoising_end=0.5) == (
        "denoising_end=0.5 is not allowed. denoising_end is not given where a refiner is loaded."
    )
    assert refusal(both, image=PICTURE, mask_image=PICTURE) == (
        "mask_image='given' is not allowed. mask_image is not given where a refiner is loaded."
    )
    assert refusal(common["sdxl_refiner"].ours, image=PICTURE, denoising_start=0.8) == (
        "denoising_start=0.8 is not allowed. denoising_start is None where image is a picture. "
        "A run that takes over needs the latents that the other model has left."
    )
    assert refusal(common["sdxl"].ours, denoising_start=0.8) == (
        "denoising_start=0.8 is not allowed. denoising_start is None for text_to_image. A run that "
        "takes over needs latents to start from."
    )


def test_a_refiner_without_a_base(common: dict[str, Family], tmp_path: Path) -> None:
    """On the command line; in Python: test_families.py."""
    refiner = str(common["sdxl_refiner"].ours.bundle.path)
    out = tmp_path / "never.png"
    command = [sys.executable, "-m", "sdopt", "generate", refiner, PROMPT, "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, out.exists()) == (2, "", False)
    assert done.stderr.splitlines()[-1] == (
        "Error: task='text_to_image' is not allowed. task is image_to_image or inpainting for this "
        "model (Stable Diffusion XL refiner). Its UNet knows the end of the schedule alone: give "
        "image, or load it beside its base, sdopt.load(base, refiner=...)."
    )


def test_models_that_do_not_fit_are_refused(common: dict[str, Family]) -> None:
    with pytest.raises(InvalidValueError) as error:
        sdopt.load(
            common["sdxl"].ours.bundle.path, refiner=common["sd1_inpainting"].ours.bundle.path
        )
    assert str(error.value) == (
        "refiner='Stable Diffusion 1.x inpainting' is not allowed. refiner is a model for pictures "
        "without a mask. Its UNet takes a mask beside the latents."
    )
    rules = common["sdxl"].ours._rules
    with pytest.raises(InvalidValueError) as error:
        check_refiner(rules, replace(rules, scaling_factor=0.5))
    assert str(error.value) == (
        "refiner='4 channels, 1/8 of the size, scaled by 0.5, 1000 timesteps' is not allowed. "
        "refiner is a model with the base's latents, 4 channels, 1/8 of the size, scaled by "
        "0.18215, 1000 timesteps."
    )


def test_schedulers_must_scale_latents_alike(common: dict[str, Family]) -> None:
    """SD 2's own DDIM keeps the variance, SDXL's Euler does not."""
    base, refiner = common["sd2"].ours.bundle.path, common["sdxl_refiner"].ours.bundle.path
    pipeline = sdopt.load(base, refiner=refiner)
    assert refusal(pipeline) == (
        "scheduler='euler' is not allowed. scheduler is one that scales latents as the base's ddim "
        "does. Give scheduler, which both then use."
    )
    assert pipeline.request(PROMPT, scheduler="euler").second is not None
