"""The whole pipeline on TensorRT, simulated: the picture is ONNX Runtime's.

The simulated TensorRT computes with ONNX Runtime, so every bit is the same.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

import sdopt
from sdopt.bundle.bundle import Bundle
from sdopt.engines.options import Batching, EngineOptions, Loop
from sdopt.engines.store import EngineStore
from sdopt.errors import ShapeOutOfProfileError
from sdopt.pipeline import Pipeline

PROMPT = "a large red circle on a blue background"


def pipeline(
    bundle: Bundle, store: EngineStore, batching: Batching = "exact", loop: Loop = "auto"
) -> Pipeline:
    options = EngineOptions(device="cuda", store=store, batching=batching)
    return Pipeline(bundle, engine="tensorrt", options=options, loop=loop)


@pytest.fixture(scope="module")
def on_device() -> Pipeline:
    """ONNX Runtime with the loop graphs, as a loop on a GPU runs them."""
    return sdopt.load("shapes", loop="device")


@pytest.mark.parametrize("batching", ["exact", "fast"])
def test_the_picture_is_onnx_runtimes(
    bundle: Bundle, built: EngineStore, shapes: Pipeline, batching: Batching
) -> None:
    ours = pipeline(bundle, built, batching, "host")
    assert ours.precisions["unet"] == "fp32"
    made = ours(PROMPT, num_inference_steps=2, seed=0).images[0]
    assert np.array_equal(made, shapes(PROMPT, num_inference_steps=2, seed=0).images[0])


@pytest.mark.parametrize("scheduler", ["pndm", "euler_ancestral"])
def test_the_loop_stays_on_the_device_and_each_step_is_one_launch(
    gpu: ModuleType, bundle: Bundle, built: EngineStore, on_device: Pipeline, scheduler: str
) -> None:
    """The first step runs as it is and is recorded; each further one is a launch of its graph."""
    request = {"num_inference_steps": 5, "seed": 0, "scheduler": scheduler}
    ours = pipeline(bundle, built)
    launches = gpu._gpu.launches
    made = ours(PROMPT, **request)  # type: ignore[arg-type]
    assert gpu._gpu.launches - launches == made.request.plan.stages - 1
    assert np.array_equal(made.images[0], on_device(PROMPT, **request).images[0])  # type: ignore[arg-type]


def test_more_pictures_than_the_engine_was_built_for(
    bundle: Bundle, built: EngineStore, on_device: Pipeline
) -> None:
    """Engines for two pictures at a time make three, and image to image, as ONNX Runtime does."""
    ours = pipeline(bundle, built)
    request = {"num_inference_steps": 2, "seed": 5, "num_images_per_prompt": 3}
    made = ours(PROMPT, **request).images  # type: ignore[arg-type]
    for one, other in zip(made, on_device(PROMPT, **request).images, strict=True):  # type: ignore[arg-type]
        assert np.array_equal(one, other)
    again = {"image": made[0], "strength": 0.6, "num_inference_steps": 4, "seed": 1}
    redrawn = [p(PROMPT, **again).images[0] for p in (ours, on_device)]  # type: ignore[arg-type]
    assert np.array_equal(*redrawn)


def test_a_size_that_was_not_built_names_the_command(bundle: Bundle, built: EngineStore) -> None:
    with pytest.raises(ShapeOutOfProfileError) as caught:
        pipeline(bundle, built)(PROMPT, num_inference_steps=1, seed=0, height=128, width=128)
    assert "sdopt build" in str(caught.value)
    assert "--profile WIDTHxHEIGHT:N" in str(caught.value)
    assert caught.value.http_status == 400


def test_batches_are_cut_up_by_a_stopwatch_only_where_bits_are_free(
    bundle: Bundle, built: EngineStore, on_device: Pipeline
) -> None:
    assert pipeline(bundle, built).choose_buckets(30.0) is None
    ours = pipeline(bundle, built, "fast")
    times = ours.choose_buckets(30.0)
    assert times is not None
    assert list(times.seconds) == [1, 2, 3, 4]
    request = {"num_inference_steps": 2, "seed": 5, "num_images_per_prompt": 3}
    made = [p(PROMPT, **request).images for p in (ours, on_device)]  # type: ignore[arg-type]
    for one, other in zip(*made, strict=True):
        assert np.array_equal(one, other)
