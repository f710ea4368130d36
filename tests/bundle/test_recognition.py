"""Families are found by what checkpoints say, as published ones do."""

from __future__ import annotations

from typing import Any

import pytest

from sdopt.bundle.families import FAMILIES, TIME_ID_NUMBERS
from sdopt.bundle.recognition import recognise

SD, XL = "StableDiffusionPipeline", "StableDiffusionXLPipeline"
CLIP = {"text_encoder.hidden_size": 768, "unet.in_channels": 4}
LINEAR = CLIP | {"unet.use_linear_projection": True}
TURBO = {"scheduler.timestep_spacing": "trailing", "scheduler.prediction_type": "epsilon"}
V = {"scheduler.prediction_type": "v_prediction"}
ZERO_SNR = TURBO | V | {"scheduler.rescale_betas_zero_snr": True}
MASK = {"unet.in_channels": 9}
REFINER = {"index.requires_aesthetics_score": True, "unet.in_channels": 4}

CASES: list[tuple[str, dict[str, Any], str]] = [
    (SD, CLIP, "sd1"),
    (SD, CLIP | {"unet.use_linear_projection": False}, "sd1"),
    ("StableDiffusionImg2ImgPipeline", CLIP, "sd1"),
    (SD, LINEAR, "sd2"),
    (SD, LINEAR | V, "sd2"),
    (SD, LINEAR | ZERO_SNR, "sd2"),
    (SD, LINEAR | TURBO, "sd_turbo"),
    ("StableDiffusionInpaintPipeline", CLIP | MASK, "sd1_inpainting"),
    ("StableDiffusionInpaintPipeline", LINEAR | MASK, "sd2_inpainting"),
    (SD, CLIP | MASK, "sd1_inpainting"),
    ("LatentConsistencyModelPipeline", CLIP | {"unet.time_cond_proj_dim": 256}, "lcm"),
    (XL, LINEAR, "sdxl"),
    (XL, LINEAR | ZERO_SNR, "sdxl"),
    (XL, LINEAR | TURBO, "sdxl_turbo"),
    (XL, LINEAR | {"unet.time_cond_proj_dim": 256}, "sdxl_lcm"),
    ("StableDiffusionXLImg2ImgPipeline", REFINER, "sdxl_refiner"),
    ("StableDiffusionXLInpaintPipeline", LINEAR | MASK, "sdxl_inpainting"),
]


@pytest.mark.parametrize(("pipeline", "settings", "name"), CASES)
def test_published_checkpoints(pipeline: str, settings: dict[str, Any], name: str) -> None:
    family = recognise(pipeline, settings.get)
    assert family is not None
    assert family.name == name


def test_every_family_is_among_them() -> None:
    assert {name for _, _, name in CASES} == set(FAMILIES)


def test_what_fits_no_family_is_taken_for_the_first_of_its_class() -> None:
    """So that the check that follows can say what does not fit."""
    family = recognise(SD, {"unet.in_channels": 5}.get)
    assert family is not None
    assert family.name == "sd1"
    assert recognise("FluxPipeline", CLIP.get) is None
    assert recognise(None, CLIP.get) is None


def test_rows_name_what_there_is() -> None:
    for family in FAMILIES.values():
        assert set(family.time_ids) <= set(TIME_ID_NUMBERS)
        assert (family.pooled is not None) == bool(family.time_ids)
        assert family.components[-1] == "unet"
    assert FAMILIES["sdxl"].num_time_ids == 6
    assert FAMILIES["sdxl_refiner"].num_time_ids == 5
