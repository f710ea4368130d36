"""Pixels are rounded as diffusers rounds them, and files say how they were made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdopt.runtime.images import LatentPreview, contact_sheet, save_png, to_pixels


def test_pixels_equal_diffusers() -> None:
    torch = pytest.importorskip("torch", reason="needs sdopt[export]")
    from diffusers.image_processor import VaeImageProcessor

    sample = np.random.default_rng(0).normal(size=(3, 40, 24)).astype(np.float32)
    (theirs,) = VaeImageProcessor().postprocess(torch.from_numpy(sample)[None], output_type="pil")
    np.testing.assert_array_equal(to_pixels(sample), np.asarray(theirs))


def test_pixels_do_not_change_their_input() -> None:
    sample = np.full((3, 8, 8), 2.0, np.float32)
    assert to_pixels(sample).max() == 255
    assert (sample == 2).all()


def test_a_preview_is_the_linear_map() -> None:
    matrix = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], np.float32)
    preview = LatentPreview(matrix, np.array([0, 0.5, 2], np.float32))
    latents = np.zeros((4, 2, 3), np.float32)
    latents[0, 1, 2] = 0.2
    image = preview.image(latents)
    assert image.size == (3, 2)
    assert image.getpixel((2, 1)) == (51, 128, 255)
    assert image.getpixel((0, 0)) == (0, 128, 255)


def test_a_png_carries_its_settings(tmp_path: Path) -> None:
    settings = {"prompt": "ein Kreis, rot – 赤い", "seed": 0, "num_inference_steps": 20}
    save_png(Image.new("RGB", (8, 8)), tmp_path / "x.png", settings)
    with Image.open(tmp_path / "x.png") as image:
        assert json.loads(image.info["sdopt"]) == settings


@pytest.mark.parametrize(
    ("count", "columns", "size"),
    [(1, None, (18, 18)), (4, None, (32, 32)), (5, 5, (74, 18)), (3, 2, (32, 32))],
)
def test_the_sheet_has_room_for_all(count: int, columns: int | None, size: tuple[int, int]) -> None:
    images = [Image.new("RGB", (10, 10), (index, 0, 0)) for index in range(count)]
    sheet = contact_sheet(images, columns=columns)
    assert sheet.size == size
    assert sheet.getpixel((4, 4)) == (0, 0, 0)
    assert sheet.getpixel((0, 0)) == (255, 255, 255)
