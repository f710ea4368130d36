"""Looking at the loop: the latents that the UNet is shown, and at one scale for every scheduler."""

from __future__ import annotations

import math

import numpy as np
import pytest

import sdopt
from sdopt.pipeline import Pipeline
from sdopt.runtime.noise import NoiseStream
from sdopt.runtime.schedulers import scheduler_names
from sdopt.runtime.trace import trace

PROMPT = "a yellow star on a green background"


@pytest.mark.parametrize("loop", ["host", "device"])
def test_it_ends_with_the_picture_and_sees_what_previews_show(loop: str) -> None:
    pipeline = sdopt.load("shapes", loop=loop)  # type: ignore[arg-type]
    request = pipeline.request(PROMPT, seed=3, num_inference_steps=5, scheduler="euler")
    seen = trace(pipeline.generator, request)
    assert seen.latents.tobytes() == pipeline.start(request).result.latents[0].tobytes()
    assert [moment.stage for moment in seen.moments] == [0, 1, 2, 3, 4]
    assert [moment.timestep for moment in seen.moments] == request.plan.timesteps.tolist()
    assert np.abs(seen.moments[-1].denoised - seen.latents).max() < 1e-5
    previews = [step.previews for step in pipeline.start(request, previews=True)]
    last = pipeline.generator.preview(seen.moments[-1].denoised)
    assert previews[-1][0].tobytes() == last.tobytes()


def test_it_stops_where_it_is_told_and_gives_the_row_back(shapes: Pipeline) -> None:
    request = shapes.request(PROMPT, seed=3, num_inference_steps=5)
    begun, whole = (trace(shapes.generator, request, stages) for stages in (2, None))
    for few, all_ in zip(begun.moments, whole.moments[:2], strict=True):
        assert few.latents.tobytes() == all_.latents.tobytes()
        assert few.denoised.tobytes() == all_.denoised.tobytes()
    loop = shapes.generator.loop(shapes.generator.latent_shape(request), 77)
    assert (loop.rows, loop.free_rows) == ((), 4)


@pytest.mark.parametrize("scheduler", scheduler_names())
def test_latents_have_one_scale_whatever_the_scheduler(shapes: Pipeline, scheduler: str) -> None:
    """What image to image begins with is signal and noise on a circle: x0 cos a + noise sin a."""
    clean = np.random.default_rng(0).normal(size=(4, 8, 8)).astype(np.float32)
    options = {"image": clean, "strength": 0.6, "num_inference_steps": 10, "seed": 7}
    request = shapes.request(PROMPT, scheduler=scheduler, **options)  # type: ignore[arg-type]
    (first,) = trace(shapes.generator, request, stages=1).moments
    angle = math.atan(first.sigma)
    noise = NoiseStream(7).start((1, 4, 8, 8))[0]
    expected = math.cos(angle) * clean + math.sin(angle) * noise
    np.testing.assert_allclose(first.latents, expected, atol=2e-5)


def test_two_schedulers_that_are_one_method_go_through_the_same_latents(shapes: Pipeline) -> None:
    """DDIM is Euler's method in sigma (arXiv:2206.00364); only what they begin with differs."""
    clean = np.random.default_rng(1).normal(size=(4, 8, 8)).astype(np.float32)
    options = {"image": clean, "strength": 1.0, "num_inference_steps": 5, "seed": 2}
    ddim, euler = (
        trace(shapes.generator, shapes.request(PROMPT, scheduler=name, **options))  # type: ignore[arg-type]
        for name in ("ddim", "euler")
    )
    for one, other in zip(ddim.moments, euler.moments, strict=True):
        assert one.timestep == other.timestep
        assert one.sigma == pytest.approx(other.sigma, rel=1e-5)
        np.testing.assert_allclose(one.latents, other.latents, atol=2e-4)
