"""Families of every kind with the loop on a device: the same pictures as with NumPy.

UNets in halves, with pooled prompts and sizes, with embedded guidance, and one that is told a mask.
"""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sdopt.pipeline import Pipeline
from tests.parity.families import HALF, PROMPT, Family

SIZE = {"height": 96, "width": 104}


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("sdxl", 1),
        ("lcm", 1),
        # Latents that differ by 1e-6 may be told to a UNet in halves with another last bit, 5e-4.
        (HALF, 4),
    ],
)
def test_the_picture_is_the_same(common: dict[str, Family], name: str, most: int) -> None:
    ours = common[name].ours
    device = Pipeline(ours.bundle, engine="onnxruntime", loop="device")
    made, expected = (
        pipeline(PROMPT, seed=3, num_inference_steps=4, num_images_per_prompt=2, **SIZE)
        for pipeline in (device, ours)
    )
    for mine, theirs in zip(made.images, expected.images, strict=True):
        assert np.abs(np.asarray(mine, int) - np.asarray(theirs, int)).max() <= most


@pytest.mark.parametrize("name", ["sd1_inpainting", "sd2"])
def test_so_is_what_is_redrawn(common: dict[str, Family], name: str) -> None:
    image, mask = Image.new("RGB", (104, 96), "yellow"), Image.new("L", (104, 96))
    ImageDraw.Draw(mask).rectangle((50, 20, 90, 80), fill=255)
    ours = common[name].ours
    device = Pipeline(ours.bundle, engine="onnxruntime", loop="device")
    given = {"image": image, "mask_image": mask, "strength": 0.8, **SIZE}
    made, expected = (
        pipeline(PROMPT, seed=3, num_inference_steps=5, **given)  # type: ignore[arg-type]
        for pipeline in (device, ours)
    )
    difference = np.abs(np.asarray(made.images[0], int) - np.asarray(expected.images[0], int))
    assert difference.max() <= 1
