"""A picture in tiles is close to the whole one, and no seam shows where tiles meet."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

import sdopt
from sdopt.engines import memory
from sdopt.errors import InvalidValueError
from sdopt.pipeline import Pipeline
from sdopt.vae import Vae

SIDE = 768
DOCUMENT = Path(__file__).parents[2] / "docs" / "images.md"


def psnr(one: Any, other: Any) -> float:
    error = np.mean((np.asarray(one, float) - np.asarray(other, float)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def largest_step(tiled: Any, whole: Any) -> float:
    """Return the largest jump from one row or column to the next that tiling has added.

    A seam is a line: most pixels beside it jump together. Edges of shapes differ one by one.
    """
    apart = (np.asarray(tiled, float) - np.asarray(whole, float)).mean(axis=2)
    down = np.median(np.diff(apart, axis=0), axis=1)
    across = np.median(np.diff(apart, axis=1), axis=0)
    return float(np.abs(np.concatenate([down, across])).max())


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """One large shape."""
    drawn = Image.new("RGB", (SIDE, SIDE), "blue")
    ImageDraw.Draw(drawn).ellipse((150, 150, 600, 600), fill="red")
    return drawn


@pytest.fixture(scope="module")
def vaes() -> dict[str, Vae]:
    return {mode: sdopt.load_vae("shapes", vae_tiling=mode) for mode in ("on", "off")}


@pytest.fixture(scope="module")
def whole(vaes: dict[str, Vae], picture: Image.Image) -> tuple[Any, Image.Image]:
    """Its latents, and what becomes of them whole."""
    latents = vaes["off"].encode(picture)
    return latents, vaes["off"].decode(latents)[0]


def test_the_carried_model(vaes: dict[str, Vae], whole: tuple[Any, Image.Image]) -> None:
    tiled = vaes["on"].decode(whole[0])[0]
    assert tiled.tobytes() != whole[1].tobytes()
    assert psnr(tiled, whole[1]) >= 35
    assert largest_step(tiled, whole[1]) <= 1  # of 255: in flat colour a level is all or nothing


def test_the_step_of_a_seam_is_seen(vaes: dict[str, Vae], whole: tuple[Any, Image.Image]) -> None:
    """Parts that are put side by side without fading have one."""
    parts = [vaes["off"].decode(part)[0] for part in np.split(whole[0], [40], axis=2)]
    assert largest_step(np.concatenate(list(map(np.asarray, parts)), axis=1), whole[1]) > 4


@pytest.mark.slow
def test_encoding_in_tiles(vaes: dict[str, Vae], picture: Image.Image) -> None:
    latents, tiled = (vaes[mode].encode(picture) for mode in ("off", "on"))
    assert latents.tobytes() != tiled.tobytes()
    signal_to_noise = np.mean(latents**2) / np.mean((latents - tiled) ** 2)
    assert 10 * np.log10(signal_to_noise) > 20


def test_a_tiny_model(tiny_export: Path) -> None:
    """Random weights, random latents: 640 pixels in four tiles."""
    latents = np.random.default_rng(0).normal(size=(4, 80, 80)).astype(np.float32)
    whole, tiled = (
        sdopt.load_vae(tiny_export, vae_tiling=mode).decode(latents)[0] for mode in ("off", "on")
    )
    assert psnr(tiled, whole) >= 35
    assert largest_step(tiled, whole) <= 1


def test_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate decides, and a warning says so; small pictures are never cut."""
    vae = sdopt.load_vae("shapes")
    latents = np.zeros((4, 65, 80), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = vae.decode(latents)[0]
    monkeypatch.setattr(memory, "available_bytes", lambda: 1_000_000)
    with pytest.warns(UserWarning, match="in tiles of 512") as caught:
        tiled = vae.decode(latents)[0]
    assert tiled.size == whole.size == (640, 520)
    assert str(caught[0].message).startswith(
        "A picture of 640x520 goes through the VAE in tiles of 512: whole, it would take about "
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vae.decode(np.zeros((4, 12, 12), np.float32))


def test_pictures_of_a_pipeline_are_cut_too(shapes: Pipeline) -> None:
    latents = np.random.default_rng(0).normal(size=(4, 65, 8)).astype(np.float32)
    tiled = sdopt.load("shapes", vae_tiling="on")
    pictures = [each.generator.picture(latents) for each in (tiled, shapes)]
    assert pictures[0].tobytes() != pictures[1].tobytes()
    assert pictures[0].tobytes() == tiled.vae.decode(latents)[0].tobytes()


def test_unknown_modes_are_refused() -> None:
    with pytest.raises(InvalidValueError) as caught:
        sdopt.load_vae("shapes", vae_tiling="sometimes")  # type: ignore[arg-type]
    assert str(caught.value) == (
        "vae_tiling='sometimes' is not allowed. vae_tiling is one of auto, on, off."
    )


def test_the_figure_of_the_documents(vaes: dict[str, Vae], whole: tuple[Any, Image.Image]) -> None:
    figure = psnr(vaes["on"].decode(whole[0])[0], whole[1])
    text = " ".join(DOCUMENT.read_text("utf-8").split())
    assert f"at 768 × 768 the PSNR between both is {figure:.0f} dB" in text
