"""Tiles cover a picture evenly, and fade into each other."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdopt.bundle.tensors import TensorSpec
from sdopt.runtime.decoder import LatentDecoder
from sdopt.runtime.ports import Array, Call
from sdopt.runtime.tiles import Tiling, in_tiles


@given(length=st.integers(1, 700), side=st.integers(8, 96), overlap=st.integers(1, 7))
def test_tiles_cover_and_overlap(length: int, side: int, overlap: int) -> None:
    tiling = Tiling(side, overlap)
    starts = tiling.starts(length)
    size = min(side, length)
    assert starts[0] == 0
    assert starts[-1] + size == length
    for one, other in pairwise(starts):
        assert 0 < other - one <= side - overlap


def test_what_is_the_same_in_every_tile_stays() -> None:
    """A function of place alone has no seams: the weights add up."""
    rows, columns = np.mgrid[0:70, 0:45].astype(np.float32)
    picture = np.stack([rows, columns])
    made = in_tiles((70, 45), Tiling(32, 8), 1, lambda y, x: picture[:, y, x])
    np.testing.assert_allclose(made, picture, atol=1e-4)


def test_tiles_fade_into_each_other() -> None:
    """Tiles of 0 and 1: over the overlap the picture climbs in even steps."""

    def tile(_: slice, columns: slice) -> Any:
        return np.full((1, 8, 64), float(columns.start > 0), np.float32)

    made = in_tiles((1, 14), Tiling(8, 2), 8, tile)
    climb = np.diff(made[0, 0])
    assert made[0, 0, 0] == 0
    assert made[0, 0, -1] == 1
    assert (climb >= 0).all()
    assert climb.max() <= 1 / 15


class _Counting:
    """Enlarges three channels, and notes the sizes of its calls."""

    inputs = (TensorSpec("latent_sample", "float32", (1, 4, "h", "w")),)
    outputs = (TensorSpec("sample", "float32", (1, 3, "height", "width")),)

    def __init__(self) -> None:
        self.bound: list[tuple[int, ...]] = []
        self.calls = 0

    def bind(self, buffers: Mapping[str, Array]) -> Call:
        latents, sample = buffers["latent_sample"], buffers["sample"]
        self.bound.append(latents.shape)

        def call() -> None:
            self.calls += 1
            np.copyto(sample, np.asarray(latents)[:, :3].repeat(8, 2).repeat(8, 3))

        return call


@pytest.mark.parametrize(("height", "width", "calls"), [(64, 64, 1), (64, 65, 2), (200, 100, 8)])
def test_the_decoder_never_sees_more_than_a_tile(height: int, width: int, calls: int) -> None:
    engine, tiling = _Counting(), Tiling()
    decoder = LatentDecoder(
        engine,
        scaling_factor=1.0,
        vae_scale_factor=8,
        choose_tiling=lambda _, __: tiling,
    )
    latents = np.random.default_rng(0).uniform(-1, 1, (4, height, width)).astype(np.float32)
    tiled = decoder.decode(latents)
    assert (engine.calls, engine.bound) == (calls, [(1, 4, 64, 64)])
    whole = LatentDecoder(_Counting(), scaling_factor=1.0, vae_scale_factor=8).decode(latents)
    assert np.abs(tiled.astype(int) - whole).max() <= 1
