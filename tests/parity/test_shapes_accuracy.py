"""The carried model draws what it is asked for, judged from pixels alone.

One hundred prompts whose combination of shape and two colours never occurred in training.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from models.shapes.judge import GUIDANCE_SCALE, NUM_INFERENCE_STEPS, Accuracy, generate, judge
from models.shapes.prompts import held_out_prompts
from sdopt.pipeline import Pipeline

LEAST_RIGHT = 0.90
LARGEST_GAP = 0.02


def our_accuracy(pipeline: Pipeline) -> Accuracy:
    prompts = held_out_prompts()
    result = pipeline(
        [prompt.prompt for prompt in prompts],
        num_inference_steps=NUM_INFERENCE_STEPS,
        guidance_scale=GUIDANCE_SCALE,
        seed=0,
    )
    return judge(result.images, prompts)


def test_the_carried_model_draws_what_it_is_asked_for(shapes: Pipeline) -> None:
    accuracy = our_accuracy(shapes)
    assert accuracy.total == 100
    assert accuracy.as_row()["all_three"] >= LEAST_RIGHT, accuracy


@pytest.mark.slow
def test_diffusers_has_the_same_score(shapes: Pipeline, shapes_checkpoint: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs sdopt[export]")
    from diffusers import StableDiffusionPipeline

    theirs = StableDiffusionPipeline.from_pretrained(
        shapes_checkpoint, dtype=torch.float32, safety_checker=None
    )
    prompts = held_out_prompts()
    their_score = judge(generate(theirs, prompts), prompts).as_row()["all_three"]
    assert abs(their_score - our_accuracy(shapes).as_row()["all_three"]) <= LARGEST_GAP
