"""Between PIL pictures and the tensors that the networks see, and contact sheets for people."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from models.shapes.drawing import draw_scene
from models.shapes.scenes import Scene

GAP = 3


def scenes_to_pixels(scenes: list[Scene]) -> torch.Tensor:
    """Draw scenes as float32 pixels (batch, 3, 96, 96) in -1..1, channels last in memory."""
    pictures = np.stack([np.asarray(draw_scene(scene)) for scene in scenes])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def pixels_to_images(pixels: torch.Tensor) -> list[Image.Image]:
    """Turn pixels (batch, 3, height, width) in -1..1 into RGB pictures."""
    bytes_ = ((pixels.detach().float() + 1) * 127.5).round().clamp(0, 255).byte()
    return [Image.fromarray(picture) for picture in bytes_.permute(0, 2, 3, 1).numpy()]


def contact_sheet(images: list[Image.Image], columns: int) -> Image.Image:
    """Lay out pictures of one size row by row on a grey sheet."""
    width, height = images[0].width + GAP, images[0].height + GAP
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), (128, 128, 128))
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        sheet.paste(image, (column * width + GAP, row * height + GAP))
    return sheet
