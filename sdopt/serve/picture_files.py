"""Pictures as files in memory: PNG, JPEG or WebP, with the settings that make them again."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from PIL import Image, PngImagePlugin

from sdopt.runtime.images import SETTINGS_KEY

OutputFormat = Literal["png", "jpeg", "webp"]
OUTPUT_FORMATS: tuple[str, ...] = get_args(OutputFormat)


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFormat:
    """How pictures are written.

    Attributes:
        kind: The file format. PNG keeps every pixel and carries the settings as text.
        quality: 0 to 100, of JPEG and WebP.
    """

    kind: OutputFormat = "png"
    quality: int = 100


def picture_file(
    image: Image.Image,
    wanted: PictureFormat,
    settings: Mapping[str, object],
    texts: Mapping[str, str],
) -> bytes:
    """Encode a picture.

    Args:
        image: RGB.
        wanted: The format.
        settings: Go into the text chunk ``sdopt`` of a PNG, as JSON.
        texts: Further text chunks of a PNG.
    """
    buffer = io.BytesIO()
    if wanted.kind == "png":
        image.save(buffer, format="PNG", pnginfo=_texts(settings, texts))
    else:
        image.save(buffer, format=wanted.kind.upper(), quality=wanted.quality)
    return buffer.getvalue()


def preview_file(image: Image.Image, width: int, height: int) -> bytes:
    """Enlarge a preview of one pixel per latent to the picture's size, and encode it as PNG."""
    buffer = io.BytesIO()
    image.resize((width, height), Image.Resampling.BILINEAR).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _texts(settings: Mapping[str, object], texts: Mapping[str, str]) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_itxt(SETTINGS_KEY, json.dumps(settings, ensure_ascii=False))
    for name, text in texts.items():
        info.add_itxt(name, text)
    return info
