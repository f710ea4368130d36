"""Pictures that clients send: what is taken, and what is refused in bounded time and memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from sdopt.errors import InvalidValueError
from sdopt.serve.http.uploads import (
    decode_base64,
    filled_from_around,
    open_upload,
    redrawn_where_clear,
    upright_picture,
)
from tests.serve.http.pictures import bad_files, base64_of, clear_where, drawn, file_of, half_mask

PIXELS = 2048 * 2048


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_what_is_taken(kind: str) -> None:
    image = upright_picture("image", file_of(drawn(), kind, quality=95), PIXELS)
    assert (image.mode, image.size) == ("RGB", (64, 64))
    difference = np.asarray(image, int) - np.asarray(drawn(), int)
    assert np.abs(difference).mean() < 6


@pytest.mark.parametrize("what", bad_files())
def test_what_is_refused_takes_little_memory(what: str) -> None:
    data = bad_files()[what]
    tracemalloc.start()
    try:
        with pytest.raises(InvalidValueError) as caught:
            open_upload("image", data, PIXELS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000
    told = str(caught.value)
    plain = "image is a whole PNG, JPEG or WebP file."
    size = "image size is at most 4194304 pixels in all on this server."
    assert told.endswith((plain, size, "image is a picture that is not animated."))


def test_the_messages_are_ours() -> None:
    with pytest.raises(InvalidValueError) as caught:
        open_upload("mask", b"12345", PIXELS)
    assert str(caught.value) == (
        "mask='a file of 5 bytes' is not allowed. mask is a whole PNG, JPEG or WebP file."
    )
    with pytest.raises(InvalidValueError) as caught:
        open_upload("mask", file_of(Image.new("L", (2049, 2048))), PIXELS)
    assert str(caught.value) == (
        "mask size='2049x2048' is not allowed. "
        "mask size is at most 4194304 pixels in all on this server."
    )


def test_a_picture_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    image = open_upload("image", file_of(half_mask(64, 32), exif=exif), PIXELS)
    assert image.size == (32, 64)
    assert image.getpixel((5, 5)) == 0
    assert image.getpixel((5, 60)) == 255


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_base64(prefix: str) -> None:
    assert decode_base64("image", prefix + base64_of(b"abc")) == b"abc"
    with pytest.raises(InvalidValueError) as caught:
        decode_base64("image", f"{prefix}http://127.0.0.1/picture.png")
    assert str(caught.value) == (
        f"image={(prefix + 'http://127.0.0.1/picture.png')[:20] + '…'!r} is not allowed. "
        "image is a picture in base64, never an address."
    )


def test_transparency_is_a_mask() -> None:
    clear = file_of(clear_where(half_mask(), drawn()))
    mask = redrawn_where_clear("mask", clear, PIXELS)
    assert mask is not None
    assert mask.tobytes() == half_mask().tobytes()
    assert redrawn_where_clear("mask", file_of(drawn()), PIXELS) is None


def test_a_masked_area_is_filled_with_the_colours_around_it() -> None:
    image, mask = Image.new("RGB", (64, 64), "green"), Image.new("L", (64, 64))
    image.paste("red", (24, 24, 40, 40))
    image.paste("blue", (0, 0, 8, 64))
    mask.paste(255, (20, 20, 44, 44))
    filled = np.asarray(filled_from_around(image, mask), int)
    marked = np.asarray(mask) > 0
    assert (filled[~marked] == np.asarray(image, int)[~marked]).all()
    assert filled[marked][:, 0].max() == 0  # nothing of the red is left
    assert np.abs(filled[22, 42] - [0, 128, 0]).max() <= 4  # by the edge it is green
    everywhere = Image.new("L", (64, 64), "white")
    assert filled_from_around(image, everywhere).tobytes() == image.tobytes()
