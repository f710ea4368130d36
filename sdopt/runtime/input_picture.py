"""Pictures that people give: opened with care, checked, resized, turned into arrays.

What diffusers' image processor does to them is done here with Pillow and NumPy alone, so that the
same picture gives the same latents.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from sdopt.errors import InvalidValueError
from sdopt.runtime.ports import FloatArray

MAX_PIXELS = 50_000_000
"""Of a picture as it is given; what is resized down afterwards has been decoded in full before."""

MAX_BLUR = 256
"""Of a mask, in its pixels."""

_NOT_TOO_LARGE = f"at most {MAX_PIXELS / 1e6:.0f} megapixels"
_READABLE = "a picture that Pillow can read (PNG, JPEG, WebP, ...)"


def open_picture(name: str, source: object) -> Image.Image:
    """Return a given picture, decoded, upright, as 8-bit RGB or L; transparency becomes white.

    Args:
        name: Of the request's field, for messages.
        source: A path, or a PIL image.

    Raises:
        InvalidValueError: It is no picture, too large, truncated, or animated.
    """
    if not isinstance(source, (str, Path, Image.Image)):
        raise InvalidValueError(name, source, f"a path or a PIL image of {_READABLE}")
    shown = repr(source) if isinstance(source, Image.Image) else str(source)
    try:
        with _opened(source) as image:
            return _decoded(name, shown, image)
    except Image.DecompressionBombError as error:
        raise InvalidValueError(name, shown, _NOT_TOO_LARGE, str(error)) from error
    except OSError as error:  # also of a PIL image: they are read when their pixels are asked for
        raise InvalidValueError(name, shown, _READABLE, str(error)) from error


@contextmanager
def _opened(source: str | Path | Image.Image) -> Iterator[Image.Image]:
    """Open a path, without Pillow's warning: what it warns of is beyond the limit here."""
    if isinstance(source, Image.Image):
        yield source
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(source)
    with image:
        yield image


def _decoded(name: str, shown: str, image: Image.Image) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PIXELS:
        size = f"{width}x{height}"
        raise InvalidValueError(f"{name} size", size, _NOT_TOO_LARGE)
    # A JPEG of several pictures is a photograph with a small copy of itself.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        hint = "Give one of its frames"
        raise InvalidValueError(name, shown, "a picture that is not animated", hint)
    upright = ImageOps.exif_transpose(image)
    return _flat(upright)


def _flat(image: Image.Image) -> Image.Image:
    if image.mode in {"RGB", "L"}:
        return image.copy()
    if not image.has_transparency_data:
        return image.convert("RGB")
    clear = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, clear).convert("RGB")


def to_sample(image: Image.Image, height: int, width: int) -> FloatArray:
    """Resize a picture and return it as (3, height, width) float32 in -1..1."""
    resized = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    unit = np.asarray(resized, np.float32).transpose(2, 0, 1) / np.float32(255)
    return np.float32(2) * unit - np.float32(1)


def to_mask(image: Image.Image, height: int, width: int) -> NDArray[np.bool_]:
    """Resize a mask and return (height, width), True where its brightness is at least a half."""
    resized = image.convert("L").resize((width, height), Image.Resampling.LANCZOS)
    mask: NDArray[np.bool_] = np.asarray(resized, np.float32) / 255 >= 0.5
    return mask


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskOptions:
    """How a mask is meant.

    Attributes:
        blur: Radius of a Gaussian blur of the mask, in pixels of the mask.
        invert: Whether what is dark shall be redrawn, rather than what is bright.
        padding: None to work on the whole picture; else on the masked area alone, with so many
            pixels around it, enlarged to the size that is generated.
    """

    blur: float = 0.0
    invert: bool = False
    padding: int | None = None

    def apply(self, mask: Image.Image) -> Image.Image:
        """Return the mask as it is meant, brightness alone."""
        grey = mask.convert("L")
        inverted = ImageOps.invert(grey) if self.invert else grey
        return inverted.filter(ImageFilter.GaussianBlur(self.blur)) if self.blur else inverted


@dataclass(frozen=True, slots=True, eq=False)
class InputPicture:
    """A picture to start from, ready for the VAE's encoder.

    Attributes:
        sample: (3, height, width) float32 in -1..1.
        mask: (height, width) bool, True where it is redrawn; None for everywhere.
    """

    sample: FloatArray
    mask: NDArray[np.bool_] | None

    @property
    def masked_sample(self) -> FloatArray:
        """The sample with 0, middle grey, where it is redrawn; a new array."""
        if self.mask is None:
            raise ValueError("This picture has no mask.")
        return self.sample * ~self.mask

    def latent_mask(self, factor: int) -> FloatArray | None:
        """Return the mask at one value per latent, (height/factor, width/factor) float32."""
        return None if self.mask is None else self.mask[::factor, ::factor].astype(np.float32)


def digest(*images: Image.Image | None) -> str:
    """Return the SHA-256 of pictures' sizes and pixels."""
    sha256 = hashlib.sha256()
    for image in images:
        if image is not None:
            sha256.update(f"{image.mode} {image.size} ".encode() + image.tobytes())
    return sha256.hexdigest()
