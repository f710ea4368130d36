"""Variations: start noise between two seeds, and the rest of the first seed's stream."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sdopt.errors import InvalidValueError
from sdopt.pipeline import Pipeline
from sdopt.runtime.noise import NoiseStream
from sdopt.runtime.variation import VariedNoise, slerp

SHAPE = (1, 4, 12, 12)


def test_the_ends_are_the_seeds() -> None:
    one, other = (NoiseStream(seed).normal(SHAPE) for seed in (1, 2))
    np.testing.assert_allclose(VariedNoise(1, 2, 0.0).start(SHAPE), one, atol=1e-6)
    np.testing.assert_allclose(VariedNoise(1, 2, 1.0).start(SHAPE), other, atol=1e-6)
    np.testing.assert_allclose(VariedNoise(1, 1, 0.5).start(SHAPE), one, atol=1e-6)


def test_between_them_it_is_the_great_circle_and_still_noise() -> None:
    """Column by column: shares of the angle, and lengths in between."""
    one, other = (NoiseStream(seed).normal(SHAPE).astype(np.float64) for seed in (1, 2))
    between = slerp(0.3, one, other)  # type: ignore[arg-type]
    column, first, last = (x[0, 2, :, 5] for x in (between, one, other))

    def angle(a: Any, b: Any) -> float:
        return float(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))

    unit = [x / np.linalg.norm(x, axis=2, keepdims=True) for x in (one, other)]
    on_circle = slerp(0.3, *unit)[0, 2, :, 5]  # type: ignore[arg-type]
    assert angle(on_circle, first) == pytest.approx(0.3 * angle(first, last), abs=1e-4)
    assert np.linalg.norm(on_circle) == pytest.approx(1, abs=1e-5)
    assert between.std() == pytest.approx(1, abs=0.1)
    assert column.shape == (12,)


def test_only_the_start_is_varied() -> None:
    varied, plain = VariedNoise(7, 8, 0.5), NoiseStream(7)
    assert (varied.start(SHAPE) != plain.start(SHAPE)).any()
    np.testing.assert_array_equal(varied.normal(SHAPE), plain.normal(SHAPE))


def test_pictures_share_the_seed_and_differ_in_the_subseed(shapes: Pipeline) -> None:
    options: Any = {"num_inference_steps": 3, "seed": 5, "subseed": 9, "subseed_strength": 0.2}
    result = shapes("a star", num_images_per_prompt=2, **options)
    assert result.seeds == (5, 5)
    settings: Any = result.settings(1)
    assert (settings["seed"], settings["subseed"], settings["subseed_strength"]) == (5, 10, 0.2)
    del settings["concepts"]
    alone = shapes(**settings)
    assert alone.images[0].tobytes() == result.images[1].tobytes()
    assert result.images[0].tobytes() != result.images[1].tobytes()
    drawn = shapes.request("a star", seed=5, subseed_strength=0.2)
    assert drawn.variation is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"subseed": 3},
            "subseed=3 is not allowed. subseed is not given where subseed_strength is not.",
        ),
        (
            {"subseed_strength": 1.5},
            "subseed_strength=1.5 is not allowed. subseed_strength is a number from 0 to 1.",
        ),
        (
            {"subseed_strength": 0.5, "subseed": -1},
            "subseed=-1 is not allowed. subseed is a whole number from 0 to 4294967295.",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(
    shapes: Pipeline, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidValueError) as caught:
        shapes.request("a star", **options)
    assert str(caught.value) == message
