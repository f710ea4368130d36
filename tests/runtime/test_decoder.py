"""The VAE's decoder: what comes out is a picture, or an error."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from sdopt.bundle.tensors import TensorSpec
from sdopt.errors import NonFinitePictureError
from sdopt.runtime.decoder import LatentDecoder
from sdopt.runtime.ports import Array, Call


class _Enlarger:
    """Shows the first three latent channels, enlarged; overflows on large ones, as float32 does."""

    inputs = (TensorSpec("latent_sample", "float32", (1, 4, "h", "w")),)
    outputs = (TensorSpec("sample", "float32", (1, 3, "height", "width")),)

    def bind(self, buffers: Mapping[str, Array]) -> Call:
        latents, sample = buffers["latent_sample"], buffers["sample"]

        def call() -> None:
            shown = np.asarray(latents)[:, :3].repeat(8, 2).repeat(8, 3)
            with np.errstate(over="ignore"):
                np.copyto(sample, shown * np.float32(1e10) * np.float32(1e-10))

        return call


def test_a_picture_that_overflows_is_an_error() -> None:
    decoder = LatentDecoder(_Enlarger(), scaling_factor=0.5, vae_scale_factor=8)
    latents = np.zeros((4, 8, 9), np.float32)
    assert decoder.decode(latents).shape == (64, 72, 3)
    latents[0, 0, 0] = 1e30
    with pytest.raises(NonFinitePictureError) as caught:
        decoder.decode(latents)
    assert str(caught.value) == (
        "The decoded picture has values that are NaN or infinite. A lower guidance_scale or a "
        "bundle exported with --precision fp32 usually avoids this."
    )
