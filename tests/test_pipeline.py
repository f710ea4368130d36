"""A pipeline as its users see it: whole requests, step by step, previewed, stopped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sdopt
from sdopt.errors import RequestError
from sdopt.pipeline import Pipeline
from sdopt.runtime.unet_batch import UnetBatch

PROMPT = "a red circle on a blue background"


def test_a_result_says_what_was_made(shapes: Pipeline) -> None:
    result = shapes([PROMPT, "a star"], num_inference_steps=3, seed=4, num_images_per_prompt=2)
    assert len(result.images) == 4
    assert result.seeds == (4, 5, 6, 7)
    assert result.request.plan.name == "ddim"
    assert result.settings(3)["prompt"] == "a star"


def test_timings_add_up(shapes: Pipeline) -> None:
    timings = shapes("a prompt not seen before", num_inference_steps=2, seed=0).timings
    parts = (timings.text_encoder_ms, timings.unet_ms, timings.vae_decoder_ms, timings.overhead_ms)
    assert min(parts) > 0
    assert sum(parts) == pytest.approx(timings.total_ms)


def test_more_pictures_than_rows_are_the_same_pictures(shapes: Pipeline) -> None:
    """Four rows at a time or one: the same bits, in the same order."""
    narrow = sdopt.load("shapes", max_rows=1)
    options = {"num_inference_steps": 2, "seed": 0, "num_images_per_prompt": 6}
    ours, theirs = shapes(PROMPT, **options), narrow(PROMPT, **options)  # type: ignore[arg-type]
    for one, other in zip(ours.images, theirs.images, strict=True):
        assert one.tobytes() == other.tobytes()


def test_steps_count_evaluations_and_end_in_the_result(shapes: Pipeline) -> None:
    request = shapes.request(
        PROMPT, num_inference_steps=3, scheduler="pndm", seed=0, num_images_per_prompt=2
    )
    generation = shapes.start(request)
    steps = list(generation)
    assert [step.completed for step in steps] == [2, 4, 6, 8]  # PNDM evaluates once more
    assert {step.total for step in steps} == {8}
    assert all(not step.previews for step in steps)
    assert len(generation.result.images) == 2


def test_the_result_alone_runs_the_steps(shapes: Pipeline) -> None:
    request = shapes.request(PROMPT, num_inference_steps=2, seed=0)
    stepwise = shapes(PROMPT, num_inference_steps=2, seed=0)
    assert shapes.start(request).result.images[0].tobytes() == stepwise.images[0].tobytes()


def test_previews_look_ever_more_like_the_picture(shapes: Pipeline) -> None:
    """Form, not colour: the latents of this small VAE are far from linear in colour."""
    request = shapes.request("a large red circle on a blue background", seed=0)
    generation = shapes.start(request, previews=True)
    previews = [np.asarray(step.previews[0], float) for step in generation]
    picture = np.asarray(generation.result.images[0].resize((12, 12), 4), float)
    likeness = [_likeness(preview, picture) for preview in previews]
    assert previews[0].shape == (12, 12, 3)
    assert likeness[-1] > 0.9
    assert likeness[0] < likeness[-1] - 0.1


def _likeness(preview: np.ndarray, picture: np.ndarray) -> float:
    """Return the best correlation, by size, of a channel of the one with a channel of the other."""
    channels = np.concatenate([preview.reshape(-1, 3), picture.reshape(-1, 3)], axis=1).T
    return float(np.nanmax(np.abs(np.corrcoef(channels)[:3, 3:])))


def test_a_closed_generation_frees_its_rows(shapes: Pipeline) -> None:
    request = shapes.request(PROMPT, num_inference_steps=5, seed=0, num_images_per_prompt=4)
    for _ in range(3):
        generation = shapes.start(request)
        next(generation)
        generation.close()
        with pytest.raises(RuntimeError, match="stopped before it was finished"):
            _ = generation.result
    again = shapes(PROMPT, num_inference_steps=5, seed=0)
    fresh = sdopt.load("shapes")(PROMPT, num_inference_steps=5, seed=0)
    assert again.images[0].tobytes() == fresh.images[0].tobytes()


def test_sizes_can_change_from_request_to_request(shapes: Pipeline) -> None:
    first = shapes(PROMPT, num_inference_steps=2, seed=0, height=64, width=72).images[0]
    for height, width in ((72, 64), (80, 80), (88, 64), (64, 88), (96, 96)):
        image = shapes(PROMPT, num_inference_steps=2, seed=0, height=height, width=width).images[0]
        assert image.size == (width, height)
    again = shapes(PROMPT, num_inference_steps=2, seed=0, height=64, width=72).images[0]
    assert first.tobytes() == again.tobytes()


def test_guidance_off_ignores_nothing_silently(shapes: Pipeline) -> None:
    assert shapes(PROMPT, num_inference_steps=2, guidance_scale=1.0, seed=0).images
    with pytest.raises(RequestError):
        shapes(PROMPT, negative_prompt="a star", guidance_scale=1.0)


def test_the_tokenizer_gives_ids(shapes: Pipeline) -> None:
    ids = shapes.tokenizer([PROMPT, ""]).input_ids
    assert ids.shape == (2, 77)
    assert ids.dtype == np.int64


def test_a_long_prompt_is_read_to_its_end(shapes: Pipeline) -> None:
    """In chunks of 75 tokens: what stands beyond the first chunk changes the picture."""
    start = "a " * 80
    red, blue = (
        shapes(start + word, num_inference_steps=2, seed=0).images[0] for word in ("red", "blue")
    )
    assert red.tobytes() != blue.tobytes()


def test_a_seed_that_was_drawn_can_be_used_again(shapes: Pipeline) -> None:
    drawn = shapes(PROMPT, num_inference_steps=1)
    again = shapes(PROMPT, num_inference_steps=1, seed=drawn.seeds[0])
    assert drawn.images[0].tobytes() == again.images[0].tobytes()


def test_warming_up_runs_every_network_at_every_number_of_pictures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches: set[int] = set()
    call = UnetBatch.call

    def noting(self: Any, batch: int) -> Any:
        batches.add(batch)
        return call(self, batch)

    monkeypatch.setattr(UnetBatch, "call", noting)
    pipeline = sdopt.load("shapes", max_rows=3)
    timings = pipeline.warmup(height=64, width=72, num_images=8)
    assert timings.unet_ms > 0
    assert timings.vae_decoder_ms > 0
    assert batches == {2, 4, 6}  # guided: two rows of the UNet for each picture
    assert pipeline.step_times is not None
    assert {1, 2} <= set(pipeline.step_times.seconds)


def test_warming_up_changes_no_picture(shapes: Pipeline) -> None:
    before = shapes(PROMPT, num_inference_steps=2, seed=0).images[0]
    shapes.warmup()
    assert shapes(PROMPT, num_inference_steps=2, seed=0).images[0].tobytes() == before.tobytes()


def test_warming_up_at_an_impossible_size(shapes: Pipeline) -> None:
    with pytest.raises(RequestError, match="height=100 is not a multiple of 8"):
        shapes.warmup(height=100, width=96)
