"""The part of a request that is about a picture to start from: image to image and inpainting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from PIL import Image

from sdopt.errors import InvalidValueError
from sdopt.runtime.given_latents import check_latents, latents_digest
from sdopt.runtime.input_picture import (
    MAX_BLUR,
    InputPicture,
    MaskOptions,
    digest,
    open_picture,
    to_mask,
    to_sample,
)
from sdopt.runtime.latent_file import SUFFIX, read_latents
from sdopt.runtime.overlay import Box, Overlay, crop_region
from sdopt.runtime.ports import FloatArray
from sdopt.runtime.request_checks import check_side, whole_number
from sdopt.runtime.schedulers.options import Task

_STRENGTH: dict[Task, float] = {"image_to_image": 0.8, "inpainting": 1.0}
"""What diffusers takes where a request does not say."""


class ImageOptions(TypedDict, total=False):
    """What can be said of a picture to start from.

    Attributes:
        image: A path or a PIL image; it is resized to ``height`` and ``width``, whose default is
            its own size, rounded down. Or latents, as a result's ``latents`` hold them: an array,
            (channels, height/8, width/8) float32 or one more of them for each picture, or a
            safetensors file of them.
        strength: Share of the schedule to run, above 0 and up to 1: how much may change. Default
            0.8, and 1 with a mask.
        mask_image: A path or a PIL image of the same size, bright where the picture is redrawn.
        mask_blur: Radius of a blur of the mask, in its pixels. Default 0.
        mask_invert: Whether to redraw what is dark instead. Default False.
        padding_mask_crop: Work on the masked area alone, with so many pixels around it, at the
            full ``height`` and ``width``, and put it back. Default: on the whole picture.
    """

    image: object
    strength: float
    mask_image: object
    mask_blur: float
    mask_invert: bool
    padding_mask_crop: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """A picture to start from, checked.

    Attributes:
        task: Image to image, or inpainting where there is a mask.
        picture: At the size that is generated; None where latents are given.
        latents: (pictures, channels, height/8, width/8) float32; None where a picture is given.
        strength: Share of the schedule to run.
        shortens: Whether all steps are run within that share; else those outside are left out.
        overlay: What puts a redrawn area back into the picture; None where all of it is new.
        settings: What was asked for, as JSON data; pictures by their SHA-256.
    """

    task: Task
    picture: InputPicture | None
    latents: FloatArray | None = None
    strength: float
    shortens: bool = False
    overlay: Overlay | None
    settings: Mapping[str, object]

    def finish(self, redrawn: Image.Image) -> Image.Image:
        """Return the finished picture: a redrawn area goes back to where it was cut out."""
        return redrawn if self.overlay is None else self.overlay.apply(redrawn)


Source = Image.Image | FloatArray
"""What a request starts from: a picture, or (pictures, channels, height/8, width/8) latents."""


def open_image(options: Mapping[str, Any], latent_channels: int) -> Source | None:
    """Open the picture that a request starts from, or check its latents, if there are any.

    Raises:
        InvalidValueError: It is neither, or there is none but options that need one.
    """
    image = options.get("image")
    if image is None:
        _refuse(options, ("strength", "mask_image", *_MASK_OPTIONS), "image")
        return None
    if isinstance(image, str | Path) and str(image).endswith(SUFFIX):
        image = read_latents("image", Path(image))
    if isinstance(image, np.ndarray):
        return check_latents("image", image, latent_channels)
    return open_picture("image", image)


def rounded_size(image: Source, multiple: int) -> tuple[int, int]:
    """Return (height, width) to generate where a request does not say: the image's, rounded down.

    Raises:
        InvalidSizeError: The picture is smaller than anything that can be generated.
    """
    if isinstance(image, np.ndarray):
        height, width = image.shape[2] * multiple, image.shape[3] * multiple
        return (
            check_side("image height", height, multiple),
            check_side("image width", width, multiple),
        )
    return (
        check_side("image height", image.height // multiple * multiple, multiple),
        check_side("image width", image.width // multiple * multiple, multiple),
    )


def image_request(image: Source, options: Mapping[str, Any], size: tuple[int, int]) -> ImageRequest:
    """Check what a request says of its picture, or of its latents.

    Args:
        image: As :func:`open_image` gives it.
        options: The request's, of which those of :class:`ImageOptions` are read.
        size: (height, width) of what is generated.

    Raises:
        InvalidValueError: A value is not allowed, or would have no effect.
    """
    if isinstance(image, np.ndarray):
        return _from_latents(options, image)
    if (share := options.get("denoising_start")) is not None:
        hint = "A run that takes over needs the latents that the other model has left"
        allowed = "None where image is a picture"
        raise InvalidValueError("denoising_start", share, allowed, hint)
    if options.get("mask_image") is None:
        _refuse(options, _MASK_OPTIONS, "mask_image")
        return _image_to_image(options, image, size)
    return _inpainting(options, image, size)


_MASK_OPTIONS = ("mask_blur", "mask_invert", "padding_mask_crop")


def _from_latents(options: Mapping[str, Any], latents: FloatArray) -> ImageRequest:
    for name in ("mask_image", *_MASK_OPTIONS):
        if options.get(name) is not None:
            allowed = "not given where image is latents"
            raise InvalidValueError(name, "given", allowed, "Give the picture itself")
    taken_over = options.get("denoising_start") is not None
    strength = options.get("strength", 1.0 if taken_over else _STRENGTH["image_to_image"])
    return ImageRequest(
        task="image_to_image",
        picture=None,
        latents=latents,
        strength=strength,
        overlay=None,
        settings={"latents_sha256": latents_digest(latents), "strength": strength},
    )


def _image_to_image(
    options: Mapping[str, Any], image: Image.Image, size: tuple[int, int]
) -> ImageRequest:
    strength = options.get("strength", _STRENGTH["image_to_image"])
    sha256 = digest(image)
    return ImageRequest(
        task="image_to_image",
        picture=InputPicture(to_sample(image, *size), None),
        strength=strength,
        overlay=None,
        settings={"image_sha256": sha256, "strength": strength},
    )


def _inpainting(
    options: Mapping[str, Any], image: Image.Image, size: tuple[int, int]
) -> ImageRequest:
    given = _given_mask(options, image)
    how = _mask_options(options)
    mask = how.apply(given)
    if not to_mask(mask, *size).any():
        raise InvalidValueError("mask_image", "all dark", "bright where the picture is redrawn")
    box = None if how.padding is None else crop_region(np.asarray(mask) > 0, size, how.padding)
    strength = options.get("strength", _STRENGTH["inpainting"])
    return ImageRequest(
        task="inpainting",
        picture=InputPicture(
            to_sample(_cropped(image, box), *size), to_mask(_cropped(mask, box), *size)
        ),
        strength=strength,
        overlay=None if box is None else Overlay(image, mask, box),
        settings={
            "image_sha256": digest(image),
            "mask_sha256": digest(given),
            "strength": strength,
            "mask_blur": how.blur,
            "mask_invert": how.invert,
            "padding_mask_crop": how.padding,
        },
    )


def _given_mask(options: Mapping[str, Any], image: Image.Image) -> Image.Image:
    mask = open_picture("mask_image", options["mask_image"])
    if mask.size != image.size:
        raise InvalidValueError(
            "mask_image size",
            f"{mask.width}x{mask.height}",
            f"that of the image, {image.width}x{image.height}",
        )
    return mask


def _mask_options(options: Mapping[str, Any]) -> MaskOptions:
    blur, invert = options.get("mask_blur", 0.0), options.get("mask_invert", False)
    padding = options.get("padding_mask_crop")
    if isinstance(blur, bool) or not isinstance(blur, (int, float)) or not 0 <= blur <= MAX_BLUR:
        raise InvalidValueError("mask_blur", blur, f"a number from 0 to {MAX_BLUR}")
    if not isinstance(invert, bool):
        raise InvalidValueError("mask_invert", invert, "True or False")
    if padding is not None:
        padding = whole_number("padding_mask_crop", padding, "a whole number of at least 0")
        if padding < 0:
            raise InvalidValueError("padding_mask_crop", padding, "a whole number of at least 0")
    return MaskOptions(blur=float(blur), invert=invert, padding=padding)


def _cropped(image: Image.Image, box: Box | None) -> Image.Image:
    return image if box is None else image.crop(box)


def _refuse(options: Mapping[str, Any], names: tuple[str, ...], without: str) -> None:
    """Refuse options that have no effect without another one."""
    for name in names:
        if options.get(name) is not None:
            raise InvalidValueError(name, options[name], f"not given where {without} is not")
