"""In bf16 the carried model draws what it draws in fp32, judged from pixels alone."""

from __future__ import annotations

from pathlib import Path

import pytest

import sdopt
from models.shapes.judge import GUIDANCE_SCALE, NUM_INFERENCE_STEPS, judge
from models.shapes.prompts import held_out_prompts
from sdopt.errors import MissingDependencyError, ProviderUnavailableError
from sdopt.pipeline import Pipeline

LARGEST_GAP = 0.02


def accuracy(pipeline: Pipeline) -> float:
    prompts = held_out_prompts()
    result = pipeline(
        [prompt.prompt for prompt in prompts],
        num_inference_steps=NUM_INFERENCE_STEPS,
        guidance_scale=GUIDANCE_SCALE,
        seed=0,
    )
    return float(judge(result.images, prompts).as_row()["all_three"])


@pytest.fixture(scope="module")
def in_fp32(shapes: Pipeline) -> float:
    return accuracy(shapes)


@pytest.mark.slow
@pytest.mark.parametrize("everywhere", [False, True], ids=["as it is", "Winograd everywhere"])
def test_bf16_is_as_right_as_fp32(
    everywhere: bool, in_fp32: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Within two pictures of a hundred.

    The carried model's convolutions are too small for Winograd's algorithm to be faster, and for
    tiles behind an upsampling, so its pictures would not show what rounding costs in there; here
    all but a few go through them.
    """
    monkeypatch.setenv("SDOPT_CACHE", str(tmp_path))  # what is compiled in one way stays in it
    if everywhere:
        monkeypatch.setattr("sdopt.engines.openvino.winograd._LEAST_CHANNELS", 1)
        monkeypatch.setattr("sdopt.engines.openvino.winograd._LEAST_SIDE", 1)
        monkeypatch.setattr("sdopt.engines.openvino.upsampling._LEAST_CHANNELS", 1)
    try:
        lowered = sdopt.load("shapes", engine="openvino", precision="bf16")
    except (MissingDependencyError, ProviderUnavailableError) as error:
        pytest.skip(str(error))
    assert accuracy(lowered) >= in_fp32 - LARGEST_GAP
