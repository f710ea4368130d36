"""Latent upscalers are torch's interpolation, as the web UI calls it."""

from __future__ import annotations

import numpy as np
import pytest

from sdopt.runtime.latent_upscale import LATENT_UPSCALERS, upscale

torch = pytest.importorskip("torch", reason="needs sdopt[export]")

MODES = {
    "latent": ("bilinear", False),
    "latent_antialiased": ("bilinear", True),
    "latent_bicubic": ("bicubic", False),
    "latent_bicubic_antialiased": ("bicubic", True),
    "latent_nearest": ("nearest", False),
    "latent_nearest_exact": ("nearest-exact", False),
}


@pytest.mark.parametrize("size", [(24, 24), (19, 31), (12, 13), (8, 40)])
@pytest.mark.parametrize("name", LATENT_UPSCALERS)
def test_it_is_torch(name: str, size: tuple[int, int]) -> None:
    latents = np.random.default_rng(0).normal(size=(4, 12, 15)).astype(np.float32)
    mode, antialias = MODES[name]
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(latents)[None], size=size, mode=mode, antialias=antialias
    )[0].numpy()
    np.testing.assert_allclose(upscale(latents, *size, name), theirs, rtol=0, atol=5e-6)
