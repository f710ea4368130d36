"""Pictures: from the VAE's output to PIL, to PNG files that say how they were made, to sheets."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from sdopt.runtime.ports import FloatArray

SETTINGS_KEY = "sdopt"


def to_pixels(sample: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Turn a decoded picture into 8-bit pixels, rounding as diffusers does.

    Args:
        sample: (3, height, width) in -1..1; values outside are clipped.

    Returns:
        (height, width, 3) uint8, a new array.
    """
    unit = np.clip(sample.astype(np.float32) / np.float32(2) + np.float32(0.5), 0, 1)
    return np.rint(unit.transpose(1, 2, 0) * np.float32(255)).astype(np.uint8)


def psnr_db(ours: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> float | None:
    """Return the peak signal-to-noise ratio of two pictures of one size, in decibels.

    Args:
        ours: (height, width, 3) uint8.
        theirs: Likewise.

    Returns:
        10 log10(255² / mean squared difference); None if no pixel differs.
    """
    error = float(np.square(ours.astype(np.float64) - theirs).mean())
    return 10 * math.log10(255**2 / error) if error else None


class LatentPreview:
    """Approximates the picture that latents stand for, by one linear map for every latent pixel."""

    def __init__(self, matrix: FloatArray, bias: FloatArray) -> None:
        """Keep the map.

        Args:
            matrix: (channels, 3), from scaled latents to RGB in 0..1.
            bias: (3,).
        """
        self._matrix, self._bias = matrix, bias

    def image(self, latents: FloatArray) -> Image.Image:
        """Return a picture of one pixel per latent from (channels, height/8, width/8)."""
        rgb = np.tensordot(latents, self._matrix, axes=([0], [0])) + self._bias
        return Image.fromarray(np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8))


def save_png(image: Image.Image, path: Path, settings: Mapping[str, object]) -> None:
    """Write a PNG whose text chunk ``sdopt`` holds the settings as JSON."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt(SETTINGS_KEY, json.dumps(settings, ensure_ascii=False))
    image.save(path, format="PNG", pnginfo=info)


def contact_sheet(
    images: Sequence[Image.Image], *, columns: int | None = None, gap: int = 4
) -> Image.Image:
    """Lay pictures of one size out in a grid on white.

    Args:
        images: At least one.
        columns: None for about as many as rows.
        gap: Pixels between and around the pictures.
    """
    width, height = images[0].size
    across = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    down = math.ceil(len(images) / across)
    sheet = Image.new("RGB", (across * (width + gap) + gap, down * (height + gap) + gap), "white")
    for index, image in enumerate(images):
        row, column = divmod(index, across)
        sheet.paste(image, (gap + column * (width + gap), gap + row * (height + gap)))
    return sheet
