"""The same seed gives diffusers' picture, without torch in the loop.

Tolerance: the mean absolute difference of the 8-bit pictures is at most 0.5 and the largest at
most 3. Two implementations that sum in another order differ by 1e-6 per operation; through a
sampling loop that stays far below one 8-bit level but for pixels that lie on a rounding edge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sdopt
from sdopt.pipeline import Pipeline
from sdopt.runtime.schedulers import SCHEDULERS, SD1_CONFIG, compile_plan
from tests.export.graphs import Tiny

torch = pytest.importorskip("torch", reason="needs sdopt[export]")
pytestmark = [
    pytest.mark.usefixtures("one_torch_thread"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),  # DEIS
]

MEAN_TOLERANCE, MAX_TOLERANCE = 0.5, 3
STEPS, GUIDANCE, SEED = 5, 5.0, 11
PROMPT, NEGATIVE = "a large red circle on a blue background", "a green square"
SIZES = {"default": (96, 96), "odd": (136, 200)}
SDE = {"algorithm_type": "sde-dpmsolver++"}
DIFFUSERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "ddpm": ("DDPMScheduler", {"clip_sample": False}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "lms": ("LMSDiscreteScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "kdpm2": ("KDPM2DiscreteScheduler", {}),
    "kdpm2_ancestral": ("KDPM2AncestralDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", SDE),
    "dpmpp_3m_sde": ("DPMSolverMultistepScheduler", {**SDE, "solver_order": 3}),
    "dpmpp_2s": ("DPMSolverSinglestepScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "deis": ("DEISMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "tcd": ("TCDScheduler", {}),
}
BOTH_SIZES = [
    *("pndm", "euler_ancestral", "dpmpp_2m_karras"),
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in DIFFUSERS
        if name not in {"pndm", "euler_ancestral", "dpmpp_2m_karras"}
    ),
]
WITH_ETA = ("ddim", "tcd")
DRAW_NOISE = ("ddpm", "euler_ancestral", "kdpm2_ancestral", "dpmpp_2m_sde", "dpmpp_3m_sde", "lcm")
RUNS = [
    *((name, 0.0, "odd" if name in DRAW_NOISE else "default") for name in DIFFUSERS),
    *((name, 0.7, "odd") for name in WITH_ETA),
]


@dataclass
class Pair:
    """One checkpoint on both sides."""

    ours: Pipeline
    theirs: Any

    def their_picture(
        self, scheduler: str, size: tuple[int, int], seed: int, eta: float = 0.0
    ) -> np.ndarray:
        import diffusers

        class_name, settings = DIFFUSERS[scheduler]
        config = self.theirs.scheduler.config
        self.theirs.scheduler = getattr(diffusers, class_name).from_config(config, **settings)
        result = self.theirs(
            PROMPT,
            negative_prompt=NEGATIVE,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            height=size[0],
            width=size[1],
            eta=eta,
            generator=torch.Generator("cpu").manual_seed(seed),
        )
        self.theirs.register_modules(scheduler=self.own_scheduler)
        return np.asarray(result.images[0])

    def __post_init__(self) -> None:
        self.theirs.set_progress_bar_config(disable=True)
        self.own_scheduler = self.theirs.scheduler

    def our_pictures(
        self, scheduler: str, size: tuple[int, int], count: int, eta: float = 0.0
    ) -> list[np.ndarray]:
        result = self.ours(
            PROMPT,
            negative_prompt=NEGATIVE,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            scheduler=scheduler,
            height=size[0],
            width=size[1],
            seed=SEED,
            eta=eta,
            num_images_per_prompt=count,
        )
        return [np.asarray(image) for image in result.images]


def load_pair(checkpoint: Path, bundle: str | Path) -> Pair:
    from diffusers import StableDiffusionPipeline

    theirs = StableDiffusionPipeline.from_pretrained(
        checkpoint, dtype=torch.float32, safety_checker=None, local_files_only=True
    )
    return Pair(sdopt.load(bundle), theirs)


@pytest.fixture(scope="module")
def shapes_pair(shapes_checkpoint: Path) -> Pair:
    return load_pair(shapes_checkpoint, "shapes")


@pytest.fixture(scope="module")
def tiny_pair(tiny: Tiny, tiny_export: Path) -> Pair:
    return load_pair(tiny.checkpoint, tiny_export)


def assert_same_picture(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    assert difference.mean() <= MEAN_TOLERANCE
    assert difference.max() <= MAX_TOLERANCE


@pytest.mark.parametrize(("scheduler", "eta", "size"), RUNS)
def test_every_scheduler_makes_diffusers_pictures(
    scheduler: str, eta: float, size: str, shapes_pair: Pair
) -> None:
    """Image i is diffusers' one picture for seed + i, whatever noise the steps draw."""
    pictures = shapes_pair.our_pictures(scheduler, SIZES[size], 2, eta)
    for index, ours in enumerate(pictures):
        assert_same_picture(
            ours, shapes_pair.their_picture(scheduler, SIZES[size], SEED + index, eta)
        )


def test_no_scheduler_is_left_out() -> None:
    assert {spec.name for spec in SCHEDULERS} <= set(DIFFUSERS)
    plans = {name: compile_plan(SD1_CONFIG, STEPS, scheduler=name) for name in DIFFUSERS}
    assert {name for name, plan in plans.items() if plan.noise_draws} == set(DRAW_NOISE)
    assert {spec.name for spec in SCHEDULERS if "eta" in spec.honours} == set(WITH_ETA)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheduler", BOTH_SIZES)
@pytest.mark.parametrize("model", ["shapes", "tiny"])
def test_pictures_are_diffusers(
    model: str, scheduler: str, size: str, request: pytest.FixtureRequest
) -> None:
    pair: Pair = request.getfixturevalue(f"{model}_pair")
    (alone,) = pair.our_pictures(scheduler, SIZES[size], 1)
    pictures = pair.our_pictures(scheduler, SIZES[size], 3)
    assert alone.tobytes() == pictures[0].tobytes()
    for index, ours in enumerate(pictures):
        assert_same_picture(ours, pair.their_picture(scheduler, SIZES[size], SEED + index))


def test_the_comparison_can_fail(shapes_pair: Pair) -> None:
    """Another seed is far outside the tolerance."""
    (ours,) = shapes_pair.our_pictures("euler", SIZES["default"], 1)
    theirs = shapes_pair.their_picture("euler", SIZES["default"], SEED + 1)
    assert np.abs(ours.astype(int) - theirs.astype(int)).mean() > 10 * MEAN_TOLERANCE
