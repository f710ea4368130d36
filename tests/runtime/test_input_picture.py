"""Pictures that people give: what is taken, what is refused, and what becomes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sdopt.errors import InvalidValueError
from sdopt.runtime.input_picture import (
    InputPicture,
    MaskOptions,
    digest,
    open_picture,
    to_mask,
    to_sample,
)


def refusal(source: object) -> str:
    with pytest.raises(InvalidValueError) as caught:
        open_picture("image", source)
    return str(caught.value)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb_or_grey(mode: str) -> None:
    image = Image.new("RGB", (5, 4), "white").convert(mode)
    opened = open_picture("image", image)
    assert opened.mode in {"RGB", "L"}
    assert (np.asarray(opened) == 255).all()


def test_transparency_becomes_white() -> None:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    assert np.asarray(open_picture("image", image)).tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_a_camera_s_rotation_is_applied(tmp_path: Path) -> None:
    image, exif = Image.new("RGB", (6, 4)), Image.Exif()
    exif[0x0112] = 6  # orientation: turned by 90 degrees
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert open_picture("image", tmp_path / "turned.jpg").size == (4, 6)


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "x.png"
    text.write_text("hello")
    assert refusal(text) == (
        f"image={str(text)!r} is not allowed. image is a picture that Pillow can read (PNG, JPEG, "
        f"WebP, ...). cannot identify image file {str(text)!r}."
    )
    assert refusal(3) == (
        "image=3 is not allowed. image is a path or a PIL image of a picture that Pillow can read "
        "(PNG, JPEG, WebP, ...)."
    )
    assert "No such file or directory" in refusal(tmp_path / "none.png")


def test_a_truncated_picture_is_refused(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.png", tmp_path / "cut.png"
    Image.effect_noise((64, 64), 50).save(whole)
    cut.write_bytes(whole.read_bytes()[:-500])
    end = "is a picture that Pillow can read (PNG, JPEG, WebP, ...). image file is truncated."
    assert refusal(cut) == f"image={str(cut)!r} is not allowed. image {end}"
    with Image.open(cut) as opened:  # Pillow reads the pixels when they are asked for
        assert refusal(opened) == f"image={repr(opened)!r} is not allowed. image {end}"


def test_an_animated_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "moving.gif"
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert refusal(path) == (
        f"image={str(path)!r} is not allowed. image is a picture that is not animated. Give one of "
        "its frames."
    )


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    Image.new("1", (8_000, 8_000)).save(path)
    assert refusal(path) == (
        "image size='8000x8000' is not allowed. image size is at most 50 megapixels."
    )
    Image.new("1", (10_000, 10_000)).save(path)
    assert refusal(path) == (
        "image size='10000x10000' is not allowed. image size is at most 50 megapixels."
    )
    Image.new("1", (15_000, 15_000)).save(path)
    assert refusal(path) == (  # Pillow's own limit comes first
        f"image={str(path)!r} is not allowed. image is at most 50 megapixels. Image size "
        "(225000000 pixels) exceeds limit of 178956970 pixels, could be decompression bomb DOS "
        "attack."
    )


def test_samples_are_those_of_diffusers() -> None:
    processor = pytest.importorskip("diffusers", reason="needs sdopt[export]").image_processor
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (50, 70, 3), np.uint8))
    mask = Image.fromarray(random.integers(0, 256, (50, 70), np.uint8))
    theirs = processor.VaeImageProcessor().preprocess(image, height=64, width=88)
    np.testing.assert_array_equal(to_sample(image, 64, 88), theirs[0].numpy())
    grey = processor.VaeImageProcessor(
        do_normalize=False, do_binarize=True, do_convert_grayscale=True
    )
    binary = grey.preprocess(mask, height=64, width=88)
    np.testing.assert_array_equal(to_mask(mask, 64, 88), binary[0, 0].numpy())


def test_masks_as_they_are_meant() -> None:
    mask = Image.new("L", (32, 32))
    ImageDraw.Draw(mask).rectangle((8, 8, 23, 23), fill=255)
    plain, inverted, blurred = (
        np.asarray(options.apply(mask)).astype(int)
        for options in (MaskOptions(), MaskOptions(invert=True), MaskOptions(blur=3))
    )
    assert (inverted == 255 - plain).all()
    assert blurred[16, 16] > 250
    assert 0 < blurred[8, 16] < 255
    assert blurred[0, 0] < 5


def test_the_masked_sample_is_grey_where_it_is_redrawn() -> None:
    mask = np.zeros((8, 16), bool)
    mask[:, 8:] = True
    picture = InputPicture(np.ones((3, 8, 16), np.float32), mask)
    assert picture.masked_sample[:, :, :8].min() == 1
    assert picture.masked_sample[:, :, 8:].max() == 0
    latent_mask = picture.latent_mask(8)
    assert latent_mask is not None
    assert latent_mask.tolist() == [[0.0, 1.0]]


def test_the_digest_knows_pixels_size_and_mask() -> None:
    image = Image.new("RGB", (8, 4))
    other = Image.new("RGB", (4, 8))
    digests = {digest(image), digest(other), digest(image, Image.new("L", (8, 4)))}
    assert len(digests) == 3
    assert digest(image) == digest(image.copy(), None)
