"""torch's CPU noise without torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sdopt.errors import InvalidValueError
from sdopt.runtime.noise import NoiseStream

SHAPES = [(1, 4, 12, 12), (1, 4, 17, 25), (1, 4, 64, 64), (16,), (17,), (31,), (1, 4, 3, 5), (2, 9)]


@pytest.mark.parametrize("seed", [0, 1, 42, 2**31 + 5, 2**32 - 1])
def test_equals_torch_draw_after_draw(seed: int) -> None:
    torch = pytest.importorskip("torch")
    generator = torch.Generator("cpu").manual_seed(seed)
    stream = NoiseStream(seed)
    for shape in [*SHAPES, *SHAPES]:
        expected = torch.randn(shape, generator=generator).numpy()
        drawn = stream.normal(shape)
        assert (drawn.dtype, drawn.shape) == (np.float32, shape)
        # Both compute in float32, with other libraries' log, sin and cos.
        np.testing.assert_allclose(drawn, expected, rtol=0, atol=1e-6)


def test_known_numbers() -> None:
    """The first numbers of torch.manual_seed(0), written down, for machines without torch."""
    expected = [-1.1258398, -1.1523602, -0.2505786, -0.4338788]
    np.testing.assert_allclose(NoiseStream(0).normal((1, 4, 8, 8)).ravel()[:4], expected, atol=1e-6)


def test_fill_draws_what_normal_returns() -> None:
    out = np.empty((1, 4, 17, 25), np.float32)
    first, second = NoiseStream(7), NoiseStream(7)
    for _ in range(2):
        first.fill(out)
        np.testing.assert_array_equal(out, second.normal(out.shape))


def test_fill_reaches_rows_of_a_larger_buffer() -> None:
    buffer = np.zeros((3, 4, 8, 8), np.float32)
    NoiseStream(7).fill(buffer[1])
    np.testing.assert_array_equal(buffer[1], NoiseStream(7).normal((4, 8, 8)))
    assert not buffer[0].any()
    assert not buffer[2].any()


def test_streams_are_independent() -> None:
    first, second = NoiseStream(1), NoiseStream(1)
    first.normal((100,))
    np.testing.assert_array_equal(second.normal((20,)), NoiseStream(1).normal((20,)))


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, "abc", None, True])
def test_seeds(seed: Any) -> None:
    with pytest.raises(InvalidValueError) as error:
        NoiseStream(seed)
    assert str(error.value) == (
        f"seed={seed!r} is not allowed. seed is a whole number from 0 to 4294967295."
    )


def test_numbers_fewer_than_a_block_are_refused() -> None:
    with pytest.raises(InvalidValueError) as error:
        NoiseStream(0).normal((1, 3, 5))
    assert str(error.value) == (
        "noise shape=(1, 3, 5) is not allowed. noise shape is one of 16 numbers or more."
    )
