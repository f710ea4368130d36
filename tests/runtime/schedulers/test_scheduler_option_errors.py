"""What a request may not ask of a plan beside steps, strength and eta: the messages in full."""

from __future__ import annotations

from typing import Any

import pytest

from sdopt.errors import InvalidValueError
from sdopt.runtime.schedulers import Churn, compile_plan

CONFIG = {"_class_name": "EulerDiscreteScheduler"}


def refusal(steps: int | None = 10, *, config: Any = CONFIG, **options: Any) -> str:
    with pytest.raises(InvalidValueError) as error:
        compile_plan(config, steps, **options)
    return str(error.value)


@pytest.mark.parametrize(
    ("churn", "message"),
    [
        (
            {"s_churn": 0},
            "s_churn=0 is not allowed. s_churn is a finite number above 0.",
        ),
        (
            {"s_churn": float("inf")},
            "s_churn=inf is not allowed. s_churn is a finite number above 0.",
        ),
        (
            {"s_churn": 1, "s_tmin": -1},
            "s_tmin=-1 is not allowed. s_tmin is a finite number of at least 0.",
        ),
        (
            {"s_churn": 1, "s_tmin": 2, "s_tmax": 1.5},
            "s_tmax=1.5 is not allowed. s_tmax is a number of at least s_tmin=2.",
        ),
        (
            {"s_churn": 1, "s_noise": "1"},
            "s_noise='1' is not allowed. s_noise is a finite number of at least 0.",
        ),
    ],
)
def test_churn(churn: Any, message: str) -> None:
    with pytest.raises(InvalidValueError) as error:
        Churn(**churn)
    assert str(error.value) == message


def test_churn_without_effect() -> None:
    assert refusal(scheduler="heun", churn=Churn(s_churn=4)) == (
        "s_churn=4 is not allowed. s_churn is 0 for heun. It has an effect for euler alone."
    )


@pytest.mark.parametrize("name", ["denoising_start", "denoising_end"])
@pytest.mark.parametrize("share", [0, 1, -0.5, float("nan"), "0.5", True])
def test_denoising(name: str, share: Any) -> None:
    assert refusal(**{name: share}) == (
        f"{name}={share!r} is not allowed. {name} is a number between 0 and 1."
    )


def test_denoising_that_ends_before_it_starts() -> None:
    assert refusal(denoising_start=0.8, denoising_end=0.8) == (
        "denoising_start=0.8 is not allowed. denoising_start is below denoising_end=0.8."
    )


def test_denoising_that_leaves_no_step() -> None:
    assert refusal(denoising_end=0.0001) == (
        "denoising_end=0.0001 is not allowed. denoising_end is higher with this schedule. "
        "None of its timesteps lies on this side of it, so no step is left to run."
    )
    spacing = {**CONFIG, "timestep_spacing": "trailing"}
    assert refusal(config=spacing, denoising_start=0.95) == (
        "denoising_start=0.95 is not allowed. denoising_start is lower with this schedule. "
        "None of its timesteps lies on this side of it, so no step is left to run."
    )


def test_taking_over_without_latents() -> None:
    assert refusal(denoising_start=0.8, task="text_to_image") == (
        "denoising_start=0.8 is not allowed. denoising_start is None for text_to_image. "
        "A run that takes over needs latents to start from."
    )


def test_taking_over_with_a_strength() -> None:
    assert refusal(denoising_start=0.8, strength=0.5) == (
        "strength=0.5 is not allowed. strength is 1 where denoising_start is given. "
        "denoising_start alone says where the run begins."
    )


@pytest.mark.parametrize(
    "timesteps", [[], 5, "999", [999.0], [True], [5, 5], [5, 9], [5, -1], [None], list(range(1001))]
)
def test_timesteps(timesteps: Any) -> None:
    assert refusal(None, timesteps=timesteps) == (
        f"timesteps={timesteps!r} is not allowed. timesteps is a list of 1 to 1000 whole numbers "
        "of at least 0, each below the one before it."
    )


@pytest.mark.parametrize(
    "sigmas", [[], [1.0], [1.0, 1.0], [0.5, 1.0], [1.0, -0.1], [float("nan"), 0.0], [1e7, 0], ["1"]]
)
def test_sigmas(sigmas: Any) -> None:
    assert refusal(None, sigmas=sigmas) == (
        f"sigmas={sigmas!r} is not allowed. sigmas is a list of 2 to 1001 numbers from 0 to "
        "1000000, each below the one before it."
    )


def test_timesteps_decide_the_number_of_steps() -> None:
    assert refusal(10, timesteps=[999, 500]) == (
        "num_inference_steps=10 is not allowed. num_inference_steps is None where timesteps or "
        "sigmas are given. Their number decides it."
    )


def test_timesteps_and_sigmas() -> None:
    assert refusal(None, timesteps=[999], sigmas=[10.0, 0.0]) == (
        "sigmas=(10.0, 0.0) is not allowed. sigmas is None where timesteps are given. "
        "Give one of them: the other follows from it."
    )


def test_timesteps_without_effect() -> None:
    assert refusal(None, scheduler="ddim", timesteps=[999, 500]) == (
        "timesteps=(999, 500) is not allowed. timesteps is None for ddim. It has an effect for "
        "ddpm, euler, heun, dpmpp_2m, dpmpp_2m_sde, dpmpp_3m_sde, dpmpp_2s, lcm and tcd alone."
    )
    assert refusal(None, scheduler="heun", sigmas=[10.0, 0.0]) == (
        "sigmas=(10.0, 0.0) is not allowed. sigmas is None for heun. "
        "It has an effect for euler alone."
    )


def test_timesteps_of_a_configuration_that_spaces_them() -> None:
    assert refusal(None, scheduler="dpmpp_2m_karras", timesteps=[999, 500]) == (
        "timesteps=(999, 500) is not allowed. timesteps is None where use_karras_sigmas is true. "
        'Choose a scheduler without _karras, or set "use_karras_sigmas": false.'
    )
    assert refusal(None, scheduler="euler_beta", sigmas=[9.0, 0.0]) == (
        "sigmas=(9.0, 0.0) is not allowed. sigmas is None where use_beta_sigmas is true. "
        'Choose a scheduler without _beta, or set "use_beta_sigmas": false.'
    )
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    assert refusal(None, config=flow, scheduler="dpmpp_2m", timesteps=[999, 500]) == (
        "timesteps=(999, 500) is not allowed. timesteps is None where use_flow_sigmas is true. "
        'Set "use_flow_sigmas": false.'
    )


def test_timesteps_where_the_model_is_told_sigmas() -> None:
    config = {**CONFIG, "timestep_type": "continuous", "prediction_type": "v_prediction"}
    assert refusal(None, config=config, timesteps=[999, 500]) == (
        'timesteps=(999, 500) is not allowed. timesteps is None where timestep_type is "continuous"'
        ". The model is told sigmas there: give those."
    )


def test_timesteps_of_one_s_own_beyond_the_table() -> None:
    assert refusal(None, timesteps=[1000, 500]) == (
        "timesteps=(1000, 500) is not allowed. "
        "timesteps is below num_train_timesteps=1000 of this checkpoint."
    )
