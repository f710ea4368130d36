"""Pictures that clients send: opened without trust, in bounded time and memory."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from sdopt.errors import InvalidValueError
from sdopt.runtime.input_picture import open_picture

_FORMATS = ("PNG", "JPEG", "WEBP")
_BLURS = (64, 32, 16, 8, 4, 2)
"""Radii in pixels, of which each fills what the next leaves open."""


def decode_base64(name: str, text: str) -> bytes:
    """Return the bytes of a picture that was sent as text, with or without ``data:…;base64,``.

    Raises:
        InvalidValueError: It is no base64.
    """
    _, comma, data = text.partition(";base64,")
    try:
        return base64.b64decode(data if comma else text, validate=True)
    except (binascii.Error, ValueError) as error:
        shown = f"{text[:20]}…" if len(text) > 20 else text
        raise InvalidValueError(name, shown, "a picture in base64, never an address") from error


def open_upload(name: str, data: bytes, max_pixels: int) -> Image.Image:
    """Decode a picture and turn it upright; its size is read from its header first.

    Args:
        name: Of the field, for messages.
        data: The file.
        max_pixels: Width times height.

    Raises:
        InvalidValueError: It is none, or too large. The decoder's own words are not passed on.
    """
    with _decoding(name, data), Image.open(BytesIO(data), formats=_FORMATS) as image:
        _check(name, image, max_pixels)
        image.load()
        return ImageOps.exif_transpose(image).copy()


def upright_picture(name: str, data: bytes, max_pixels: int) -> Image.Image:
    """Decode a picture to start from: upright, RGB or L, with white for what is transparent.

    Raises:
        InvalidValueError: See :func:`open_upload`.
    """
    return open_picture(name, open_upload(name, data, max_pixels))


def redrawn_where_clear(name: str, data: bytes, max_pixels: int) -> Image.Image | None:
    """Return a mask, bright where a picture is transparent; None where it has no transparency.

    Raises:
        InvalidValueError: See :func:`open_upload`.
    """
    image = open_upload(name, data, max_pixels)
    if not image.has_transparency_data:
        return None
    return image.convert("RGBA").getchannel("A").point(lambda alpha: 255 - alpha)


def filled_from_around(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Replace what a mask marks by the colours around it, the nearer the more.

    Args:
        image: RGB or L.
        mask: L, of the same size, at least half bright where it marks.
    """
    marked = np.asarray(mask.convert("L")) >= 128
    if marked.all():
        return image
    filled = np.asarray(image.convert("RGB"), np.float32).copy()  # (height, width, 3)
    known = np.where(marked, 0, 255).astype(np.uint8)
    colours = Image.fromarray(np.where(marked[..., None], 0, filled).astype(np.uint8))
    mean = filled[~marked].mean(axis=0)
    filled[marked] = mean
    for radius in _BLURS:
        blur = ImageFilter.GaussianBlur(radius)
        share = np.asarray(Image.fromarray(known).filter(blur), np.float32)[..., None]
        near = np.asarray(colours.filter(blur), np.float32) * 255 / np.maximum(share, 1)
        reached = marked[..., None] & (share >= 64)
        filled = np.where(reached, np.minimum(near, 255), filled)
    return Image.fromarray(np.rint(filled).astype(np.uint8))


def _check(name: str, image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        allowed = f"at most {max_pixels} pixels in all on this server"
        raise InvalidValueError(f"{name} size", f"{width}x{height}", allowed)
    # A JPEG of several pictures is a photograph with a small copy of itself.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise InvalidValueError(name, "several frames", "a picture that is not animated")


@contextmanager
def _decoding(name: str, data: bytes) -> Iterator[None]:
    """Turn whatever Pillow raises at a broken file into one error, without its own words."""
    try:
        yield
    except InvalidValueError:
        raise
    except Exception as error:
        sent = f"a file of {len(data)} bytes"
        raise InvalidValueError(name, sent, "a whole PNG, JPEG or WebP file") from error
