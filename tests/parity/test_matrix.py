"""Every family, in every task that it does, with a few schedulers, gives diffusers' pictures.

At two sizes, same seeds, on the CPU in fp32; the mean absolute difference of the 8-bit pictures is
at most 0.5. Most of it is slow; test_families.py and test_image_tasks.py look at a part of it, with
more options, in every run.
"""

from __future__ import annotations

from typing import Any

import pytest

from sdopt.bundle.families import FAMILIES
from tests.parity.families import COMMON, MEAN_TOLERANCE, RARE, Family
from tests.parity.tasks import SIZES, STEPS, difference

pytest.importorskip("torch", reason="needs sdopt[export]")
pytestmark = pytest.mark.usefixtures("one_torch_thread")

TASKS = {
    "text_to_image": ("text_to_image", "image_to_image", "inpainting"),
    "image_to_image": ("image_to_image", "inpainting"),
    "inpainting": ("inpainting",),
}
"""What a UNet does that was trained for a task."""
STRENGTH = {"image_to_image": 0.6, "inpainting": 0.8}
OTHERS = ("ddim", "euler_ancestral", "dpmpp_2m", "heun", "unipc")
OWN = "its own"
IN_EVERY_RUN = {
    ("sd_turbo", "inpainting", "ddim"),
    ("lcm", "image_to_image", OWN),
    ("lcm", "inpainting", OWN),
    ("sdxl_refiner", "inpainting", "heun"),
}


def schedulers(name: str) -> tuple[str, ...]:
    """Return those that are compared; consistency models are distilled for their own alone."""
    return (OWN,) if family_of(name).guidance == "embedded" else (OWN, *OTHERS)


def family_of(name: str) -> Any:
    """Return the row of a checkpoint; of SD 2.x there is one that predicts noise, and one for v."""
    return FAMILIES["sd2" if name == "sd2_base" else name]


def cases() -> list[Any]:
    made = []
    for name in (*COMMON, *RARE):
        for task in TASKS[family_of(name).task]:
            for scheduler in schedulers(name):
                case = (name, task, scheduler)
                marks = [] if case in IN_EVERY_RUN else [pytest.mark.slow]
                made.append(pytest.param(*case, marks=marks))
    return made


@pytest.fixture(scope="module")
def family(request: pytest.FixtureRequest) -> Any:
    """Return a family by its name; those that a run does not look at are not exported."""
    return lambda name: request.getfixturevalue("common" if name in COMMON else "rare")[name]


@pytest.mark.parametrize(("name", "task", "scheduler"), cases())
def test_pictures_are_diffusers(family: Any, name: str, task: str, scheduler: str) -> None:
    both: Family = family(name)
    theirs = their_pipeline(both, task)
    options = {"num_inference_steps": STEPS, "guidance_scale": family_of(name).guidance_scale}
    options |= {} if scheduler == OWN else {"scheduler": scheduler}
    if task != "text_to_image":
        options["strength"] = STRENGTH[task]
    for size in SIZES.values():
        assert difference(both.ours, theirs, size, options).mean() <= MEAN_TOLERANCE


@pytest.mark.parametrize("strength", [1.0, 0.6])
@pytest.mark.parametrize("name", ["sd2_inpainting", "sdxl_inpainting"])
@pytest.mark.slow
def test_inpainting_unets_at_any_strength(family: Any, name: str, strength: float) -> None:
    both: Family = family(name)
    options = {"num_inference_steps": STEPS, "guidance_scale": 5.0, "strength": strength}
    for size in SIZES.values():
        apart = difference(both.ours, their_pipeline(both, "inpainting"), size, options)
        assert apart.mean() <= MEAN_TOLERANCE


def their_pipeline(both: Family, task: str) -> Any:
    """Return diffusers' pipeline for a task, of the networks of the one that was loaded."""
    import diffusers

    family = both.ours.bundle.family
    kind = "StableDiffusionXL" if family.pooled else "StableDiffusion"
    if family.name == "lcm" and task != "inpainting":  # the one task that it has no pipeline for
        kind = "LatentConsistencyModel"
    suffix = {"text_to_image": "", "image_to_image": "Img2Img", "inpainting": "Inpaint"}[task]
    pipeline = getattr(diffusers, f"{kind}{suffix}Pipeline").from_pipe(both.theirs)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
