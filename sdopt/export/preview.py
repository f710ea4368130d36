"""A linear map from latents to colours, good enough to watch a picture appear."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sdopt.bundle.manifest import Preview
from sdopt.export.cases import Floats, smooth

_SIDE = 6  # latents along one side of a sample picture
_DIGITS = 5


def sample_pictures(scale_factor: int) -> Floats:
    """Draw pictures (20, 3, 6 * scale_factor, 6 * scale_factor) in -1..1: flat and soft colours."""
    corners = np.array(list(np.ndindex(2, 2, 2)), np.float32) * 1.8 - 0.9
    shape = (12, 3, _SIDE * scale_factor, _SIDE * scale_factor)
    soft = np.tanh(smooth(np.random.default_rng(4), shape))
    flat = np.broadcast_to(corners[:, :, None, None], (8, *shape[1:]))
    return np.concatenate([flat, soft]).astype(np.float32)


def fit(encode: Callable[[Floats], Floats], scaling_factor: float, scale_factor: int) -> Preview:
    """Fit ``rgb = latents @ matrix + bias`` by least squares on what the VAE makes of pictures.

    Args:
        encode: From (batch, 3, height, width) to the mean of the latents, not scaled.
        scaling_factor: Of the VAE; the map is for scaled latents.
        scale_factor: Pixels per latent along one side.
    """
    pictures = sample_pictures(scale_factor)
    means = np.concatenate([encode(picture[None]) for picture in pictures]) * scaling_factor
    latents = _rows(means)
    colours = (_rows(_pooled(pictures, scale_factor)) + 1) / 2
    system = np.concatenate([latents, np.ones((len(latents), 1))], axis=1)
    solution, *_ = np.linalg.lstsq(system, colours, rcond=None)
    table = [tuple(round(float(x), _DIGITS) for x in row) for row in solution]
    return Preview(matrix=tuple(table[:-1]), bias=table[-1])


def _pooled(pictures: Floats, size: int) -> Floats:
    batch, channels, height, width = pictures.shape
    blocks = pictures.reshape(batch, channels, height // size, size, width // size, size)
    return blocks.mean(axis=(3, 5))


def _rows(fields: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.moveaxis(fields, 1, -1).reshape(-1, fields.shape[1]).astype(np.float64)
