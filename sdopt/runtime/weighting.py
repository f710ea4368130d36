"""Weighted embeddings, as the AUTOMATIC1111 web UI's emphasis mode "Original" makes them."""

from __future__ import annotations

import numpy as np

from sdopt.errors import InvalidValueError
from sdopt.runtime.ports import FloatArray


def weigh(hidden: FloatArray, weights: FloatArray) -> FloatArray:
    """Multiply each token's embedding by its weight, and restore the mean of the whole chunk.

    The mean is over all tokens (start, end and padding too) and all values of one chunk, as the web
    UI takes it for a batch of one: ``z = hidden * weights;  z * (hidden.mean() / z.mean())``.

    Args:
        hidden: (length, dim) float32.
        weights: (length,) float32, dimensionless.

    Returns:
        (length, dim) float32, a new array.

    Raises:
        InvalidValueError: The weighted mean is zero, so nothing can restore it.
    """
    weighted = hidden * weights[:, None]
    mean, new_mean = hidden.mean(dtype=np.float64), weighted.mean(dtype=np.float64)
    if new_mean == 0:
        raise InvalidValueError(
            "mean of the weighted embeddings",
            0.0,
            "a number other than 0",
            "Negative weights cancel the rest of the prompt: bring them closer to 0",
        )
    return weighted * np.float32(mean / new_mean)
