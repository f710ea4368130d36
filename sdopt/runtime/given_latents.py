"""Latents that a caller gives, in place of a picture."""

from __future__ import annotations

import hashlib

import numpy as np

from sdopt.errors import InvalidValueError
from sdopt.runtime.ports import FloatArray


def check_latents(name: str, value: object, channels: int) -> FloatArray:
    """Return given latents as (pictures, channels, height/8, width/8) float32.

    Args:
        name: Of the field, for messages.
        value: An array of that shape, or of one picture, (channels, height/8, width/8); in
            scaled-latent units.
        channels: Of the bundle's latents.

    Raises:
        InvalidValueError: It is no such array, or not finite.
    """
    if not isinstance(value, np.ndarray) or not np.issubdtype(value.dtype, np.floating):
        raise InvalidValueError(name, "<no array of floats>", "an array of floats")
    latents = value[None] if value.ndim == 3 else value
    if latents.ndim != 4 or latents.shape[1] != channels or 0 in latents.shape:
        raise InvalidValueError(
            f"{name}.shape",
            value.shape,
            f"({channels}, height, width) of one picture's latents, or (pictures, {channels}, "
            "height, width)",
        )
    if not np.isfinite(latents).all():
        raise InvalidValueError(name, "<array with NaN or infinite numbers>", "finite")
    return latents.astype(np.float32)


def check_count(name: str, latents: FloatArray, pictures: int) -> None:
    """Refuse latents of several pictures that are not as many as shall be made.

    Raises:
        InvalidValueError: They are not.
    """
    if len(latents) not in (1, pictures):
        allowed = "1" if pictures == 1 else f"1 or {pictures}, as many as pictures are made"
        raise InvalidValueError(f"len({name})", len(latents), allowed)


def latents_digest(latents: FloatArray) -> str:
    """Return the SHA-256 of latents' shape and numbers."""
    return hashlib.sha256(f"{latents.shape} ".encode() + latents.tobytes()).hexdigest()
