"""One request on both sides: text to image, image to image or inpainting, with any scheduler."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sdopt.pipeline import Pipeline

torch = pytest.importorskip("torch", reason="needs sdopt[export]")

PROMPT, SEED, STEPS = "a blue square on a green background", 7, 5
SIZES = {"default": (96, 96), "odd": (136, 200)}
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "heun": ("HeunDiscreteScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
}


def picture(size: tuple[int, int]) -> Image.Image:
    """A red circle on yellow, of another size than what is made of it."""
    image = Image.new("RGB", (size[1] + 14, size[0] + 9), "yellow")
    ImageDraw.Draw(image).ellipse((20, 30, 90, 100), fill="red")
    return image


def mask_of(image: Image.Image) -> Image.Image:
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).rectangle((image.width // 2, 20, image.width - 10, 90), fill=255)
    return mask


def difference(
    ours: Pipeline, theirs: Any, size: tuple[int, int], options: dict[str, Any], shift: int = 0
) -> Any:
    """Return how far the two pictures are apart, 0 to 255, pixel by pixel.

    The task is that of their pipeline's class.
    """
    mine, their_own = inputs(type(theirs).__name__, size)
    made = ours(PROMPT, seed=SEED, height=size[0], width=size[1], **mine, **options)
    rest = {name: value for name, value in options.items() if name != "scheduler"}
    before = theirs.scheduler
    if scheduler := options.get("scheduler"):
        theirs.register_modules(scheduler=their_scheduler(before.config, scheduler))
    generator = torch.Generator("cpu").manual_seed(SEED + shift)
    expected = theirs(PROMPT, generator=generator, **their_own, **rest).images[0]
    theirs.register_modules(scheduler=before)
    found = np.asarray(made.images[0]).astype(int)
    return np.abs(found - np.asarray(expected).astype(int))


def inputs(kind: str, size: tuple[int, int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the pictures that we are given, and all that diffusers' pipeline of a class is."""
    height, width = size
    sides = {"height": height, "width": width}
    image = picture(size)
    if "Inpaint" in kind:
        given = {"image": image, "mask_image": mask_of(image)}
        return given, {**given, **sides}
    if "Img2Img" in kind:  # takes no size: it is that of the picture
        resized = image.resize((width, height), Image.Resampling.LANCZOS)
        return {"image": image}, {"image": resized}
    return {}, sides


def their_scheduler(config: Any, name: str) -> Any:
    import diffusers

    class_name, settings = SCHEDULERS[name]
    return getattr(diffusers, class_name).from_config(config, **settings)
