"""A seed's noise is drawn in the order in which diffusers' pipelines draw it.

A row has one stream of its own: the image's posterior, the start noise, the masked image's
posterior where there is one, then the noise of the steps, each of the shape of one picture.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdopt.runtime.noise import NoiseStream
from sdopt.runtime.schedulers import compile_plan

torch = pytest.importorskip("torch", reason="needs sdopt[export]")
diffusers = pytest.importorskip("diffusers", reason="needs sdopt[export]")
pytestmark = pytest.mark.usefixtures("one_torch_thread")

HEIGHT, WIDTH, STEPS, SEED = 136, 200, 4, 2**31 + 5
LATENT_SHAPE = (1, 4, HEIGHT // 8, WIDTH // 8)
SCHEDULERS = {
    "ddim": ("DDIMScheduler", {}),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "lcm": ("LCMScheduler", {}),
}
POSTERIOR = "diffusers.models.autoencoders.vae"
IMAGE_TO_IMAGE = "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img"
INPAINTING = "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_inpaint"

Draws = list[tuple[str, np.ndarray]]


@pytest.fixture(scope="module")
def pipeline(shapes_checkpoint: Path) -> Any:
    loaded = diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(
        shapes_checkpoint, dtype=torch.float32, safety_checker=None, local_files_only=True
    )
    loaded.set_progress_bar_config(disable=True)
    return loaded


def record(monkeypatch: pytest.MonkeyPatch, *modules: str) -> Draws:
    """Note which module draws what, in the order of the draws."""
    from diffusers.utils.torch_utils import randn_tensor

    draws: Draws = []

    def noting(module: str) -> Any:
        def draw(*args: Any, **kwargs: Any) -> Any:
            noise = randn_tensor(*args, **kwargs)
            draws.append((module, noise.numpy()))
            return noise

        return draw

    for module in modules:
        monkeypatch.setattr(importlib.import_module(module), "randn_tensor", noting(module))
    return draws


def run(pipeline: Any, name: str, **inputs: Any) -> None:
    """Run a pipeline with a scheduler."""
    class_name, settings = SCHEDULERS[name]
    scheduler = getattr(diffusers, class_name).from_config(pipeline.scheduler.config, **settings)
    pipeline.register_modules(scheduler=scheduler)
    pipeline(
        "a red circle",
        num_inference_steps=STEPS,
        strength=0.5,
        guidance_scale=1.0,
        output_type="latent",
        generator=torch.Generator("cpu").manual_seed(SEED),
        **inputs,
    )


def scheduler_module(name: str) -> str:
    return getattr(diffusers, SCHEDULERS[name][0]).__module__


def assert_one_stream(draws: Draws) -> None:
    """Our stream gives the same numbers, draw after draw."""
    stream = NoiseStream(SEED)
    for _, theirs in draws:
        assert theirs.shape == LATENT_SHAPE
        np.testing.assert_allclose(stream.normal(LATENT_SHAPE), theirs, rtol=0, atol=1e-6)


def step_draws(pipeline: Any, name: str) -> int:
    return compile_plan(
        dict(pipeline.scheduler.config), STEPS, scheduler=name, strength=0.5
    ).noise_draws


@pytest.mark.parametrize("name", SCHEDULERS)
def test_image_to_image(pipeline: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = POSTERIOR, IMAGE_TO_IMAGE, scheduler_module(name)
    draws = record(monkeypatch, *modules)
    run(pipeline, name, image=torch.zeros(1, 3, HEIGHT, WIDTH))
    steps = step_draws(pipeline, name)
    assert [module for module, _ in draws] == [*modules[:2], *[modules[2]] * steps]
    assert (steps > 0) == (name != "ddim")
    assert_one_stream(draws)


@pytest.mark.parametrize("name", ["ddim", "euler_ancestral"])
def test_inpainting(pipeline: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a UNet of four channels the masked image is encoded too, and its latents not used."""
    inpainting = diffusers.StableDiffusionInpaintPipeline(**pipeline.components)
    inpainting.set_progress_bar_config(disable=True)
    draws = record(monkeypatch, POSTERIOR, INPAINTING, scheduler_module(name))
    run(
        inpainting,
        name,
        image=torch.zeros(1, 3, HEIGHT, WIDTH),
        mask_image=torch.ones(1, 1, HEIGHT, WIDTH),
        height=HEIGHT,
        width=WIDTH,
    )
    steps = [scheduler_module(name)] * step_draws(pipeline, name)
    assert [module for module, _ in draws] == [POSTERIOR, INPAINTING, POSTERIOR, *steps]
    assert_one_stream(draws)
