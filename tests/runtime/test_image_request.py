"""What a request says of the picture that it starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sdopt.errors import RequestError
from sdopt.runtime.image_request import ImageRequest, image_request, open_image, rounded_size
from sdopt.runtime.overlay import crop_region

IMAGE = Image.new("RGB", (130, 100), "yellow")
MASK = Image.new("L", (130, 100))
ImageDraw.Draw(MASK).rectangle((60, 20, 99, 59), fill=255)


def ask(**options: Any) -> ImageRequest:
    image = open_image({"image": IMAGE, **options}, 4)
    assert image is not None
    return image_request(image, options, (96, 128))


def test_without_a_picture_there_is_nothing_to_say() -> None:
    assert open_image({}, 4) is None


def test_the_default_size_is_the_picture_s_rounded_down() -> None:
    assert rounded_size(IMAGE, 8) == (96, 128)


def test_image_to_image() -> None:
    request = ask()
    assert (request.task, request.strength, request.overlay) == ("image_to_image", 0.8, None)
    assert request.picture.sample.shape == (3, 96, 128)
    assert request.picture.mask is None
    assert ask(strength=0.3).strength == 0.3


def test_inpainting() -> None:
    request = ask(mask_image=MASK)
    assert (request.task, request.strength, request.overlay) == ("inpainting", 1.0, None)
    mask = request.picture.mask
    assert mask is not None
    assert mask.mean() == pytest.approx(40 * 40 / (130 * 100), rel=0.05)
    inverted = ask(mask_image=MASK, mask_invert=True).picture.mask
    assert inverted is not None
    assert (inverted == ~mask).mean() > 0.99


def test_a_file_is_as_good_as_a_picture(tmp_path: Path) -> None:
    IMAGE.save(tmp_path / "x.png")
    image = open_image({"image": tmp_path / "x.png"}, 4)
    assert image is not None
    assert image.tobytes() == IMAGE.tobytes()


def test_the_masked_area_alone() -> None:
    request = ask(mask_image=MASK, padding_mask_crop=4)
    assert request.overlay is not None
    left, top, right, bottom = request.overlay.box
    assert (bottom - top, right - left) == (48, 64)
    assert left <= 56 < 104 <= right
    assert top <= 16 < 64 <= bottom
    whole = request.overlay.apply(Image.new("RGB", (128, 96), "blue"))
    pixels = np.asarray(whole)
    marked = np.asarray(MASK) > 0
    assert whole.size == IMAGE.size
    assert (pixels[marked] == (0, 0, 255)).all()
    assert (pixels[~marked] == (255, 255, 0)).all()


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (129, 99, 130, 100), (0, 50, 130, 51)])
def test_the_cut_area_holds_what_is_marked_and_stays_inside(box: tuple[int, ...]) -> None:
    left, top, right, bottom = box
    marked = np.zeros((100, 130), bool)
    marked[top:bottom, left:right] = True
    found = crop_region(marked, (64, 64), 3)
    assert 0 <= found[0] <= left < right <= found[2] <= 130
    assert 0 <= found[1] <= top < bottom <= found[3] <= 100
    if right - left < 90:
        assert found[2] - found[0] == found[3] - found[1]


def test_settings_name_pictures_by_their_digests() -> None:
    options = ask(mask_image=MASK, mask_blur=2).settings
    assert set(options) == {
        "image_sha256", "mask_sha256", "strength", "mask_blur", "mask_invert", "padding_mask_crop",
    }  # fmt: skip
    assert options["image_sha256"] == ask().settings["image_sha256"]
    assert options["mask_sha256"] != options["image_sha256"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"image": None, "strength": 0.5},
            "strength=0.5 is not allowed. strength is not given where image is not.",
        ),
        (
            {"mask_blur": 3},
            "mask_blur=3 is not allowed. mask_blur is not given where mask_image is not.",
        ),
        (
            {"mask_image": Image.new("L", (100, 130), 255)},
            "mask_image size='100x130' is not allowed. mask_image size is that of the image, "
            "130x100.",
        ),
        (
            {"mask_image": Image.new("L", (130, 100))},
            "mask_image='all dark' is not allowed. mask_image is bright where the picture is "
            "redrawn.",
        ),
        (
            {"mask_image": MASK, "mask_blur": -1},
            "mask_blur=-1 is not allowed. mask_blur is a number from 0 to 256.",
        ),
        (
            {"mask_image": MASK, "mask_invert": "yes"},
            "mask_invert='yes' is not allowed. mask_invert is True or False.",
        ),
        (
            {"mask_image": MASK, "padding_mask_crop": -2},
            "padding_mask_crop=-2 is not allowed. padding_mask_crop is a whole number of at least "
            "0.",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        ask(**options)
    assert str(caught.value) == message


def test_a_picture_that_is_too_small() -> None:
    with pytest.raises(RequestError) as caught:
        rounded_size(Image.new("RGB", (50, 200)), 8)
    assert str(caught.value) == "image width=48 is smaller than 64, the smallest image width."
