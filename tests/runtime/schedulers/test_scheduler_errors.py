"""What a request or a scheduler_config.json may not say, and the message in full."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdopt.errors import (
    InvalidValueError,
    RequestError,
    UnknownSchedulerError,
    UnsupportedSchedulerConfigError,
)
from sdopt.runtime.schedulers import SCHEDULERS, compile_plan, scheduler_names
from sdopt.runtime.schedulers.settings import CLASS_SETTINGS

CONFIG = {"_class_name": "EulerDiscreteScheduler"}


@pytest.mark.parametrize("steps", [0, -1, 1001, 10.0, "10", True, None])
def test_steps(steps: Any) -> None:
    with pytest.raises(InvalidValueError) as error:
        compile_plan(CONFIG, steps)
    assert str(error.value) == (
        f"num_inference_steps={steps!r} is not allowed. "
        "num_inference_steps is a whole number from 1 to 1000."
    )


def test_more_steps_than_training_timesteps() -> None:
    with pytest.raises(InvalidValueError) as error:
        compile_plan({**CONFIG, "num_train_timesteps": 100}, 101)
    assert str(error.value) == (
        "num_inference_steps=101 is not allowed. "
        "num_inference_steps is at most num_train_timesteps=100 of this checkpoint."
    )


@pytest.mark.parametrize("strength", [0.0, -0.5, 1.5, float("nan"), "0.5", True])
def test_strength(strength: Any) -> None:
    with pytest.raises(InvalidValueError) as error:
        compile_plan(CONFIG, 10, strength=strength)
    assert str(error.value) == (
        f"strength={strength!r} is not allowed. strength is a number above 0 and up to 1."
    )


def test_strength_that_leaves_no_step() -> None:
    with pytest.raises(InvalidValueError) as error:
        compile_plan(CONFIG, 10, strength=0.05)
    assert str(error.value) == (
        "strength=0.05 is not allowed. strength is at least 1 / num_inference_steps = 0.1. "
        "Below that no step is left to run."
    )


def test_strength_without_an_image() -> None:
    with pytest.raises(InvalidValueError) as error:
        compile_plan(CONFIG, 10, strength=0.5, task="text_to_image")
    assert str(error.value) == (
        "strength=0.5 is not allowed. strength is 1 for text_to_image. "
        "A lower strength needs an image to start from."
    )


@pytest.mark.parametrize("eta", [-0.1, 1.1, "1"])
def test_eta(eta: Any) -> None:
    with pytest.raises(InvalidValueError) as error:
        compile_plan(CONFIG, 10, eta=eta)
    assert str(error.value) == f"eta={eta!r} is not allowed. eta is a number from 0 to 1."


def test_eta_without_effect() -> None:
    with pytest.raises(InvalidValueError) as error:
        compile_plan(CONFIG, 10, eta=0.5)
    assert str(error.value) == (
        "eta=0.5 is not allowed. eta is 0 for euler. It has an effect for ddim and tcd alone."
    )


def test_task() -> None:
    task: Any = "upscaling"
    with pytest.raises(InvalidValueError) as error:
        compile_plan(CONFIG, 10, task=task)
    assert str(error.value) == (
        "task='upscaling' is not allowed. task is one of text_to_image, image_to_image, inpainting."
    )


def test_unknown_scheduler_names_the_nearest() -> None:
    with pytest.raises(UnknownSchedulerError) as error:
        compile_plan(CONFIG, 10, scheduler="eular")
    assert str(error.value) == (
        f"Unknown scheduler 'eular'. Did you mean 'euler'? Choices: {', '.join(scheduler_names())}."
    )


@pytest.mark.parametrize("config", [{}, {"_class_name": None}, {"_class_name": ["a"]}])
def test_config_without_a_class_name(config: dict[str, Any]) -> None:
    with pytest.raises(UnknownSchedulerError):
        compile_plan(config, 10)


def test_suffix_that_the_class_does_not_know() -> None:
    with pytest.raises(UnknownSchedulerError, match="Unknown scheduler 'ddim_karras'"):
        compile_plan({"clip_sample": False}, 10, scheduler="ddim_karras")


def test_timesteps_beyond_the_table() -> None:
    config = {"clip_sample": False, "steps_offset": 1}
    with pytest.raises(InvalidValueError) as error:
        compile_plan(config, 1000, scheduler="ddim")
    assert str(error.value) == (
        "num_inference_steps=1000 is not allowed. "
        "num_inference_steps is lower with leading spacing and steps_offset=1. "
        "The first timestep would be 1000, beyond the last training timestep 999."
    )


def test_levels_that_coincide() -> None:
    with pytest.raises(InvalidValueError) as error:
        compile_plan({"timestep_spacing": "leading"}, 1000, scheduler="dpmpp_2m")
    assert str(error.value) == (
        "num_inference_steps=1000 is not allowed. "
        "num_inference_steps is a number for which the noise levels of dpmpp_2m differ. "
        "With this scheduler_config.json some coincide, and the solver would divide by zero: "
        'lower the number, or set "final_sigmas_type": "zero".'
    )


def test_clip_sample_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedSchedulerConfigError) as error:
        compile_plan({"clip_sample": True}, 10, scheduler="ddim")
    assert str(error.value) == (
        "Scheduler setting clip_sample=True is not supported. It is only supported as False. "
        'Set "clip_sample": false in scheduler_config.json, as Stable Diffusion\'s own files do.'
    )


@pytest.mark.parametrize(
    ("scheduler", "setting"),
    [
        ("ddim", {"clip_sample": False, "thresholding": True}),
        ("ddpm", {"clip_sample": False, "variance_type": "learned"}),
        ("ddpm", {"clip_sample": False, "variance_type": "learned_range"}),
        ("dpmpp_2m", {"variance_type": "learned_range"}),
        ("PNDMScheduler", {"skip_prk_steps": False}),
        ("euler", {"beta_schedule": "sigmoid"}),
        ("euler", {"timestep_spacing": "random"}),
        ("euler", {"timestep_spacing": None}),
        ("euler", {"use_karras_sigmas": True, "use_beta_sigmas": True}),
        ("euler", {"use_karras_sigmas": "yes"}),
        ("euler", {"rescale_betas_zero_snr": True}),
        ("euler", {"num_train_timesteps": "1000"}),
        ("euler", {"beta_start": None}),
        ("euler", {"trained_betas": []}),
        ("unipc", {"solver_order": 4}),
        ("unipc", {"disable_corrector": 3}),
    ],
)
def test_known_settings_with_unsupported_values(scheduler: str, setting: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedSchedulerConfigError) as error:
        compile_plan(setting, 10, scheduler=scheduler)
    assert str(error.value).startswith("Scheduler setting ")


FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}


@pytest.mark.parametrize(
    ("scheduler", "setting", "message"),
    [
        (
            "dpmpp_2m",
            {"use_flow_sigmas": True},
            "prediction_type='epsilon' is not supported. "
            "It is flow_prediction where use_flow_sigmas is true.",
        ),
        (
            "unipc",
            {"prediction_type": "flow_prediction"},
            "prediction_type='flow_prediction' is not supported. "
            "It is not flow_prediction where use_flow_sigmas is false.",
        ),
        (
            "unipc",
            {**FLOW, "predict_x0": False, "final_sigmas_type": "sigma_min"},
            "prediction_type='flow_prediction' is not supported. "
            "It is epsilon, v_prediction or sample for solvers that integrate epsilon. "
            'Set "algorithm_type": "dpmsolver++", or "predict_x0": true.',
        ),
        (
            "dpmpp_2m",
            {**FLOW, "final_sigmas_type": "sigma_min"},
            "final_sigmas_type='sigma_min' is not supported. It is zero where use_flow_sigmas is "
            "true. The lowest sigma of the betas says nothing about flow matching.",
        ),
        (
            "unipc",
            {**FLOW, "use_dynamic_shifting": True},
            "use_dynamic_shifting=True is not supported. It is only supported as False. "
            "Only a fixed flow_shift is supported.",
        ),
        (
            "euler",
            {"prediction_type": "flow_prediction"},
            "prediction_type='flow_prediction' is not supported. "
            "It is one of epsilon, v_prediction, sample.",
        ),
    ],
)
def test_flow_matching(scheduler: str, setting: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedSchedulerConfigError) as error:
        compile_plan(setting, 10, scheduler=scheduler)
    assert str(error.value) == f"Scheduler setting {message}"


def test_distilled_models_know_their_steps() -> None:
    with pytest.raises(InvalidValueError) as error:
        compile_plan({}, 51, scheduler="lcm")
    assert str(error.value) == (
        "num_inference_steps=51 is not allowed. "
        "num_inference_steps is at most original_inference_steps=50. "
        "The model was distilled on no more."
    )


ODD: list[Any] = [None, True, False, -1, 0, 1, 3, 0.5, 1e9, 10**400, float("nan"), float("inf")]
ODD += ["", "zero", "epsilon", [], [0.5], [None], {}, {"a": 1}]


@given(
    spec=st.sampled_from(SCHEDULERS),
    config=st.dictionaries(
        st.sampled_from(sorted({key for keys in CLASS_SETTINGS.values() for key in keys})),
        st.sampled_from(ODD),
        max_size=3,
    ),
    steps=st.integers(1, 20),
    by_class=st.booleans(),
)
def test_any_config_gives_a_plan_or_a_clear_error(
    spec: Any, config: dict[str, Any], steps: int, by_class: bool
) -> None:
    config = {"clip_sample": False, "skip_prk_steps": True, **config}
    try:
        plan = compile_plan(config, steps, scheduler=spec.class_name if by_class else spec.name)
    except RequestError:
        return
    assert np.isfinite(plan.updates).all()
