"""Image to image of consistency models: all steps, in a share of the distilled timesteps."""

from __future__ import annotations

from typing import Any

import pytest

from sdopt.errors import InvalidValueError
from sdopt.runtime.schedulers import SD1_CONFIG, shortened_timesteps

LCM = {**SD1_CONFIG, "_class_name": "LCMScheduler"}


@pytest.mark.parametrize("name", ["LCMScheduler", "TCDScheduler"])
def test_timesteps_are_diffusers(name: str) -> None:
    diffusers = pytest.importorskip("diffusers", reason="needs sdopt[export]")
    theirs: Any = getattr(diffusers, name)()
    compared = 0
    for strength in (0.1, 0.29, 0.5, 0.75, 0.8, 1.0):
        for steps in (1, 2, 3, 4, 8, 13, 25, 50):
            if steps > int(50 * strength):
                with pytest.raises(ValueError, match="is smaller than"):
                    theirs.set_timesteps(steps, strength=strength, device="cpu")
                with pytest.raises(InvalidValueError):
                    shortened_timesteps(LCM, steps, strength, name)
                continue
            theirs.set_timesteps(steps, strength=strength, device="cpu")
            assert shortened_timesteps(LCM, steps, strength, name) == theirs.timesteps.tolist()
            compared += 1
    assert compared > 30


def test_what_cannot_be_run_is_refused() -> None:
    with pytest.raises(InvalidValueError) as error:
        shortened_timesteps(LCM, 8, 0.1)
    assert str(error.value) == (
        "strength=0.1 is not allowed. strength is at least num_inference_steps / "
        "original_inference_steps = 0.16. This model runs all its steps, within that share of "
        "those that it was distilled on."
    )


def test_schedulers_of_other_models_have_no_such_timesteps() -> None:
    assert shortened_timesteps(LCM, 8, 0.1, "euler") is None
    assert shortened_timesteps(SD1_CONFIG, 8, 0.1) is None
