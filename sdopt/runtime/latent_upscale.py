"""Latents enlarged as pictures are: what the AUTOMATIC1111 web UI calls latent upscalers.

Each is a matrix per side, with the pixel centres of ``torch.nn.functional.interpolate``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from sdopt.runtime.ports import FloatArray

Matrix = NDArray[np.float64]
_Kernel = Callable[[Matrix], Matrix]


def upscale(latents: FloatArray, height: int, width: int, name: str) -> FloatArray:
    """Resize latents.

    Args:
        latents: (channels, height, width) float32.
        height: Wanted, in latents.
        width: Wanted, in latents.
        name: In :data:`LATENT_UPSCALERS`.

    Returns:
        (channels, height, width) float32, a new array.
    """
    weights = LATENT_UPSCALERS[name]
    down, across = weights(latents.shape[1], height), weights(latents.shape[2], width)
    return np.einsum("yj,cjk,xk->cyx", down, latents, across, optimize=True).astype(np.float32)


def _nearest(before: int, after: int) -> Matrix:
    """Take what lies at the left edge of each new pixel."""
    return np.eye(before)[np.arange(after) * before // after]


def _nearest_exact(before: int, after: int) -> Matrix:
    """Take what lies at the centre of each new pixel."""
    return np.eye(before)[(2 * np.arange(after) + 1) * before // (2 * after)]


def _sampled(kernel: _Kernel, radius: int) -> Callable[[int, int], Matrix]:
    """Weigh the neighbours of each new pixel's centre; the edge goes on beyond the edge."""

    def weights(before: int, after: int) -> Matrix:
        matrix = np.zeros((after, before))
        centres = _centres(before, after)
        for offset in range(1 - radius, 1 + radius):
            taps = np.floor(centres) + offset
            columns = np.clip(taps, 0, before - 1).astype(int)
            np.add.at(matrix, (np.arange(after), columns), kernel(centres - taps))
        return matrix

    return weights


def _filtered(kernel: _Kernel) -> Callable[[int, int], Matrix]:
    """Weigh what the kernel covers, at least a new pixel wide; nothing lies beyond the edge."""

    def weights(before: int, after: int) -> Matrix:
        distances = np.arange(before) - _centres(before, after)[:, None]
        matrix = kernel(distances / max(before / after, 1.0))
        return matrix / matrix.sum(axis=1, keepdims=True)

    return weights


def _centres(before: int, after: int) -> Matrix:
    """Return where the centres of the new pixels lie among the old ones, whose own are whole."""
    return (np.arange(after) + 0.5) * before / after - 0.5


def _linear(distance: Matrix) -> Matrix:
    return np.maximum(1 - np.abs(distance), 0)


def _cubic(a: float) -> _Kernel:
    """Return the convolution kernel of Keys 1981 (10.1109/TASSP.1981.1163711) with slope ``a``."""

    def kernel(distance: Matrix) -> Matrix:
        x = np.abs(distance)
        inner = (a + 2) * x**3 - (a + 3) * x**2 + 1
        outer = a * (x**3 - 5 * x**2 + 8 * x - 4)
        return np.where(x <= 1, inner, np.where(x < 2, outer, 0))

    return kernel


LATENT_UPSCALERS: Mapping[str, Callable[[int, int], Matrix]] = {
    "latent": _sampled(_linear, 1),
    "latent_antialiased": _filtered(_linear),
    "latent_bicubic": _sampled(_cubic(-0.75), 2),
    "latent_bicubic_antialiased": _filtered(_cubic(-0.5)),
    "latent_nearest": _nearest,
    "latent_nearest_exact": _nearest_exact,
}
"""The weights of new latents along one side, (after, before), by the upscaler's name."""
