"""The autoencoder by itself: what it gives, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import sdopt
from sdopt.errors import RequestError
from sdopt.pipeline import Pipeline
from sdopt.runtime.latent_file import read_latents, save_latents
from sdopt.vae import Vae

PICTURE = Image.new("RGB", (100, 110), "yellow")


@pytest.fixture(scope="module")
def vae() -> Vae:
    return sdopt.load_vae("shapes")


def test_a_picture_and_back(vae: Vae, shapes: Pipeline) -> None:
    made = shapes("a large red circle on a blue background", num_inference_steps=10, seed=0)
    latents = vae.encode(made.images[0])
    assert (latents.shape, latents.dtype) == ((4, 12, 12), np.float32)
    (again,) = vae.decode(latents)
    error = np.asarray(again, float) - np.asarray(made.images[0], float)
    assert 10 * np.log10(255**2 / (error**2).mean()) > 25
    assert vae.decode(made.latents[0])[0].tobytes() == made.images[0].tobytes()
    assert len(vae.decode(np.stack([latents, latents]))) == 2


def test_sizes_and_draws(vae: Vae) -> None:
    assert vae.encode(PICTURE).shape == (4, 13, 12)
    assert vae.encode(PICTURE, height=64, width=80).shape == (4, 8, 10)
    mean, drawn, same = (vae.encode(PICTURE, seed=seed) for seed in (None, 1, 1))
    assert drawn.tobytes() == same.tobytes() != mean.tobytes()
    assert np.abs(drawn - mean).mean() < 0.1


def test_only_what_is_needed_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = sdopt.vae.open_engine

    def open_engine(engine: str, model: Any, *rest: Any) -> Any:
        opened.append(model.name)
        return real(engine, model, *rest)

    monkeypatch.setattr(sdopt.vae, "open_engine", open_engine)
    vae = sdopt.load_vae("shapes")
    latents = vae.encode(PICTURE)
    assert opened == ["vae_encoder"]
    vae.decode(latents)
    assert opened == ["vae_encoder", "vae_decoder"]


def test_files(vae: Vae, shapes: Pipeline, tmp_path: Path) -> None:
    path, latents = tmp_path / "x.safetensors", vae.encode(PICTURE)
    save_latents(latents[None], path, {"seed": None})
    np.testing.assert_array_equal(read_latents("latents", path), latents[None])
    options: Any = {"num_inference_steps": 4, "strength": 0.5, "seed": 0}
    pictures = [shapes("a star", image=x, **options).images[0] for x in (path, latents)]
    assert pictures[0].tobytes() == pictures[1].tobytes()


def test_files_that_hold_none(vae: Vae, tmp_path: Path) -> None:
    other, text = tmp_path / "other.safetensors", tmp_path / "text.safetensors"
    save_file({"weight": np.zeros(3, np.float32)}, other)
    text.write_text("hello")
    allowed = "image is a safetensors file with a tensor 'latents'."
    for path, ending in ((other, "This one holds weight."), (text, "")):
        with pytest.raises(RequestError) as caught:
            read_latents("image", path)
        assert str(caught.value).startswith(f"image={str(path)!r} is not allowed. {allowed}")
        assert str(caught.value).endswith(ending)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"height": 96},
            "width=None is not allowed. width is required where the other side is given.",
        ),
        (
            {"height": 100, "width": 96},
            "height=100 is not a multiple of 8. The nearest heights are 96 and 104.",
        ),
        ({"seed": -1}, "seed=-1 is not allowed. seed is a whole number from 0 to 4294967295."),
    ],
)
def test_what_cannot_be_encoded(vae: Vae, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        vae.encode(PICTURE, **options)
    assert str(caught.value) == message


def test_what_cannot_be_decoded(vae: Vae) -> None:
    with pytest.raises(RequestError) as caught:
        vae.decode(np.zeros((3, 8, 8), np.float32))
    assert str(caught.value) == (
        "latents.shape=(3, 8, 8) is not allowed. latents.shape is (4, height, width) of one "
        "picture's latents, or (pictures, 4, height, width)."
    )
