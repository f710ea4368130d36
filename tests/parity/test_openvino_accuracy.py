"""In bf16 the carried model draws what it draws in fp32, judged from pixels alone."""

from __future__ import annotations

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


@pytest.mark.slow
def test_bf16_is_as_right_as_fp32(shapes: Pipeline) -> None:
    """Within two pictures of a hundred."""
    try:
        lowered = sdopt.load("shapes", engine="openvino", precision="bf16")
    except (MissingDependencyError, ProviderUnavailableError) as error:
        pytest.skip(str(error))
    assert accuracy(lowered) >= accuracy(shapes) - LARGEST_GAP
