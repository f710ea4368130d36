"""`sdopt.explain`: what is shown is what the pipeline does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sdopt
from sdopt.errors import RequestError
from sdopt.explaining import Explanation
from sdopt.pipeline import Pipeline
from sdopt.runtime.images import psnr_db

PROMPT = "a yellow star on a green background"
STEPS = 8
ASKED: Any = {"num_inference_steps": STEPS, "scheduler": "euler"}


@pytest.fixture(scope="module")
def star(shapes: Pipeline) -> Image.Image:
    return shapes(PROMPT, seed=12, num_inference_steps=10).images[0]


@pytest.fixture(scope="module")
def explained(shapes: Pipeline, star: Image.Image) -> Explanation:
    return sdopt.explain(star, PROMPT, pipeline=shapes, seed=5, **ASKED)


def test_the_autoencoder_is_that_of_the_pipeline(
    shapes: Pipeline, star: Image.Image, explained: Explanation
) -> None:
    assert explained.picture.tobytes() == star.tobytes()
    assert explained.latents.tobytes() == shapes.vae.encode(star).tobytes()
    (again,) = shapes.vae.decode(explained.latents)
    assert explained.reconstruction.tobytes() == again.tobytes()
    assert explained.psnr_db == psnr_db(np.asarray(star), np.asarray(again))
    assert explained.psnr_db is not None
    assert explained.psnr_db > 25


def test_one_look_through_noise_is_what_image_to_image_begins_with(
    shapes: Pipeline, explained: Explanation
) -> None:
    assert [look.share for look in explained.noised] == [1, 7 / 8, 5 / 8, 1 / 2, 2 / 8, 1 / 8]
    for look in explained.noised:
        request = shapes.request(
            PROMPT,
            image=explained.latents,
            strength=look.share,
            seed=5,
            **ASKED,
        )
        assert look.moment.timestep == request.plan.timesteps[0]
        step = next(shapes.start(request, previews=True))
        preview = shapes.generator.preview(look.moment.denoised)
        assert step.previews[0].tobytes() == preview.tobytes()
    errors = [look.psnr_db or np.inf for look in explained.noised]
    assert errors[-1] > 25 > errors[0]  # next to no noise is seen through, pure noise is not


def test_the_generation_is_the_pipeline_s(shapes: Pipeline, explained: Explanation) -> None:
    result = shapes(PROMPT, seed=5, **ASKED)
    assert explained.finished.tobytes() == result.images[0].tobytes()
    assert explained.generation[-1].predicted.tobytes() == result.images[0].tobytes()
    assert [look.moment.stage for look in explained.generation] == [0, 1, 3, 4, 6, 7]
    assert explained.evaluations == STEPS
    assert explained.settings == result.settings(0)


def test_figures_are_json(explained: Explanation) -> None:
    figures = json.loads(json.dumps(explained.figures(), allow_nan=False))
    assert (figures["picture_numbers"], figures["latent_numbers"]) == (3 * 96 * 96, 4 * 12 * 12)
    assert figures["generation"][-1]["psnr_db"] is None  # the prediction is the picture
    assert figures["noised"][0]["share"] == 1
    channel = figures["latent_channels"][0]
    assert channel["min"] < channel["mean"] < channel["max"]


def test_any_picture_is_cut_to_the_size_that_is_worked_at(shapes: Pipeline) -> None:
    wide = Image.new("L", (300, 100))
    wide.paste(255, (100, 0, 200, 100))  # white in the middle square, which is what is kept
    few = sdopt.explain(
        wide, pipeline=shapes, num_inference_steps=1, height=64, width=64, guidance_scale=0
    )
    assert few.picture.size == (64, 64)
    assert np.asarray(few.picture)[:, 2:-2].min() == 255
    assert [len(few.noised), len(few.generation)] == [1, 1]


def test_what_is_no_picture_is_refused(shapes: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        sdopt.explain(tmp_path / "none.png", pipeline=shapes)
    assert str(caught.value) == (
        f"image={str(tmp_path / 'none.png')!r} is not allowed. image is a picture that Pillow can "
        "read (PNG, JPEG, WebP, ...). [Errno 2] No such file or directory: "
        f"{str(tmp_path / 'none.png')!r}."
    )
