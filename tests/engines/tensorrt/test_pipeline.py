"""The whole pipeline on TensorRT, simulated: the picture is ONNX Runtime's."""

from __future__ import annotations

import numpy as np
import pytest

from sdopt.bundle.bundle import Bundle
from sdopt.engines.options import Batching, EngineOptions
from sdopt.engines.store import EngineStore
from sdopt.errors import ShapeOutOfProfileError
from sdopt.pipeline import Pipeline

PROMPT = "a large red circle on a blue background"


def pipeline(bundle: Bundle, store: EngineStore, batching: Batching = "exact") -> Pipeline:
    options = EngineOptions(device="cuda", store=store, batching=batching)
    return Pipeline(bundle, engine="tensorrt", options=options)


@pytest.mark.parametrize("batching", ["exact", "fast"])
def test_the_picture_is_onnx_runtimes(
    bundle: Bundle, built: EngineStore, shapes: Pipeline, batching: Batching
) -> None:
    """The simulated TensorRT computes with ONNX Runtime, so every bit is the same."""
    ours = pipeline(bundle, built, batching)
    assert ours.precisions["unet"] == "fp32"
    made = ours(PROMPT, num_inference_steps=3, seed=0).images[0]
    assert np.array_equal(made, shapes(PROMPT, num_inference_steps=3, seed=0).images[0])


def test_more_pictures_than_the_engine_was_built_for(
    bundle: Bundle, built: EngineStore, shapes: Pipeline
) -> None:
    """Engines for two pictures at a time make three, and image to image, as ONNX Runtime does."""
    request = {"num_inference_steps": 2, "seed": 5, "num_images_per_prompt": 3}
    made = pipeline(bundle, built)(PROMPT, **request).images  # type: ignore[arg-type]
    for ours, theirs in zip(made, shapes(PROMPT, **request).images, strict=True):  # type: ignore[arg-type]
        assert np.array_equal(ours, theirs)
    again = {"image": made[0], "strength": 0.6, "num_inference_steps": 4, "seed": 1}
    redrawn = [p(PROMPT, **again).images[0] for p in (pipeline(bundle, built), shapes)]  # type: ignore[arg-type]
    assert np.array_equal(*redrawn)


def test_a_size_that_was_not_built_names_the_command(bundle: Bundle, built: EngineStore) -> None:
    with pytest.raises(ShapeOutOfProfileError) as caught:
        pipeline(bundle, built)(PROMPT, num_inference_steps=1, seed=0, height=128, width=128)
    assert "sdopt build" in str(caught.value)
    assert "--profile WIDTHxHEIGHT:N" in str(caught.value)
    assert caught.value.http_status == 400
