"""What a request says of its schedule reaches the plan, or is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sdopt.errors import InvalidValueError
from sdopt.pipeline import Pipeline
from sdopt.runtime.schedulers import Churn, compile_plan

PROMPT = "a red circle"


def plan_of(shapes: Pipeline, **options: Any) -> Any:
    return shapes.request(PROMPT, **options).plan


def test_churn(shapes: Pipeline) -> None:
    config = shapes.bundle.manifest.scheduler
    asked = plan_of(
        shapes, num_inference_steps=6, scheduler="euler", s_churn=4, s_tmin=0.5, s_noise=1.1
    )
    churn = Churn(s_churn=4, s_tmin=0.5, s_noise=1.1)
    wanted = compile_plan(config, 6, scheduler="euler", churn=churn)
    np.testing.assert_array_equal(asked.updates, wanted.updates)
    plain = plan_of(shapes, num_inference_steps=6, scheduler="euler", s_churn=0)
    assert plain.noise_draws == 0 < asked.noise_draws


@pytest.mark.parametrize("name", ["timesteps", "sigmas"])
def test_steps_of_one_s_own(shapes: Pipeline, name: str) -> None:
    values: Any = {"timesteps": [999, 500, 20], "sigmas": [14.6, 3.0, 0.5, 0.0]}[name]
    request = shapes.request(PROMPT, scheduler="euler", **{name: values})  # type: ignore[arg-type]
    assert request.num_inference_steps == request.plan.stages == 3
    settings = request.settings(0)
    assert settings[name] == values
    assert "num_inference_steps" not in settings
    if name == "sigmas":
        assert request.plan.sigmas.tolist() == values


def test_settings_make_the_picture_again(shapes: Pipeline) -> None:
    asked: Any = {"timesteps": (999, 500, 20), "scheduler": "euler", "s_churn": 1.5, "s_tmax": 9.0}
    first = shapes(PROMPT, **asked, denoising_end=0.5)
    settings: Any = first.settings(0)
    del settings["concepts"]
    assert first.request.plan.stages == 2
    assert shapes(**settings).images[0].tobytes() == first.images[0].tobytes()
    changed = shapes(**settings | {"s_churn": 0.0, "s_tmax": None})
    assert changed.images[0].tobytes() != first.images[0].tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"s_noise": 1.0},
            "s_noise=1.0 is not allowed. s_noise is not given where s_churn is not.",
        ),
        (
            {"s_churn": -1.0, "scheduler": "euler"},
            "s_churn=-1.0 is not allowed. s_churn is a finite number above 0.",
        ),
        (
            {"timesteps": [999, 1], "num_inference_steps": 2, "scheduler": "euler"},
            "num_inference_steps=2 is not allowed. num_inference_steps is None where timesteps or "
            "sigmas are given. Their number decides it.",
        ),
        (
            {"timesteps": [1, 999], "scheduler": "euler"},
            "timesteps=[1, 999] is not allowed. timesteps is a list of 1 to 1000 whole numbers of "
            "at least 0, each below the one before it.",
        ),
        (
            {"denoising_end": 1.0},
            "denoising_end=1.0 is not allowed. denoising_end is a number between 0 and 1.",
        ),
        (
            {"output_type": "np"},
            "output_type='np' is not allowed. output_type is one of pil, latent.",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(
    shapes: Pipeline, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidValueError) as caught:
        shapes.request(PROMPT, **options)
    assert str(caught.value) == message


def test_churn_without_effect_names_who_has_one(shapes: Pipeline) -> None:
    with pytest.raises(InvalidValueError, match="It has an effect for euler alone"):
        shapes.request(PROMPT, scheduler="ddim", s_churn=2.0)


def test_latents_in_place_of_a_picture(shapes: Pipeline) -> None:
    """What the VAE's encoder would have made of a picture, given directly."""
    done = shapes(PROMPT, num_inference_steps=4, seed=0)
    (latents,) = done.latents
    assert latents.shape == (4, 12, 12)
    again = shapes(PROMPT, image=latents, strength=0.5, num_inference_steps=4, seed=1)
    assert again.timings.vae_encoder_ms == 0
    assert again.images[0].size == (96, 96)
    settings = again.settings(0)
    assert (settings["strength"], len(str(settings["latents_sha256"]))) == (0.5, 64)
    several = np.stack([latents, -latents])
    both = shapes(
        PROMPT, image=several, strength=0.5, num_inference_steps=4, seed=1, num_images_per_prompt=2
    )
    assert both.images[0].tobytes() == again.images[0].tobytes()


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (
            np.zeros((3, 12, 12), np.float32), {},
            "image.shape=(3, 12, 12) is not allowed. image.shape is (4, height, width) of one "
            "picture's latents, or (pictures, 4, height, width).",
        ),
        (
            np.zeros((4, 12, 12), int), {},
            "image='<no array of floats>' is not allowed. image is an array of floats.",
        ),
        (
            np.full((4, 12, 12), np.nan), {},
            "image='<array with NaN or infinite numbers>' is not allowed. image is finite.",
        ),
        (
            np.zeros((3, 4, 12, 12), np.float32), {"num_images_per_prompt": 2},
            "len(image)=3 is not allowed. len(image) is 1 or 2, as many as pictures are made.",
        ),
        (
            np.zeros((4, 12, 12), np.float32), {"height": 64, "width": 96},
            "size='96x64' is not allowed. size is that of the latents, 96x96. Leave height and "
            "width out.",
        ),
        (
            np.zeros((4, 7, 12), np.float32), {},
            "image height=56 is smaller than 64, the smallest image height.",
        ),
        (
            np.zeros((4, 12, 12), np.float32), {"mask_image": "x.png"},
            "mask_image='given' is not allowed. mask_image is not given where image is latents. "
            "Give the picture itself.",
        ),
        (
            np.zeros((4, 12, 12), np.float32), {"denoising_start": 0.5, "strength": 0.5},
            "strength=0.5 is not allowed. strength is 1 where denoising_start is given. "
            "denoising_start alone says where the run begins.",
        ),
    ],
)  # fmt: skip
def test_latents_that_cannot_be_used(
    shapes: Pipeline, image: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as caught:
        shapes.request(PROMPT, image=image, **options)
    assert str(caught.value) == message
