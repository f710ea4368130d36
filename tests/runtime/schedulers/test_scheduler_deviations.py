"""Where we deliberately differ from diffusers (docs/schedulers.md), and what we do instead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sdopt.errors import RequestError
from sdopt.runtime.schedulers import compile_plan
from tests.runtime.schedulers.tracing import deviation, in_double, replay

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "EulerDiscreteScheduler"])
def test_trailing_spacing_has_as_many_steps_as_asked_for(scheduler: str, stock: Any) -> None:
    config = {**BETAS, "timestep_spacing": "trailing", "clip_sample": False}
    theirs = stock.trace(scheduler, config, 61)
    ours = compile_plan(config, 61, scheduler=scheduler)
    assert (len(theirs.timesteps), ours.stages) == (62, 61)
    np.testing.assert_array_equal(ours.timesteps, theirs.timesteps[:61])


def test_trailing_spacing_always_has_as_many_steps_as_asked_for() -> None:
    config = {**BETAS, "timestep_spacing": "trailing", "clip_sample": False}
    for steps in range(1, 1001, 60):
        assert compile_plan(config, steps, scheduler="euler").stages == steps


def test_lms_in_image_to_image_starts_with_an_empty_history(
    stock: Any,
) -> None:
    """diffusers picks the order by the index in the full schedule, and lacks the history for it."""
    theirs = stock.trace("LMSDiscreteScheduler", BETAS, 10, strength=0.5)
    plan = compile_plan(BETAS, 10, scheduler="lms", strength=0.5)
    first = plan.sigmas[1] - plan.sigmas[0]
    assert plan.updates[0, 0, plan.state_rows] == pytest.approx(first)  # Euler's step
    assert deviation(replay(plan).latents, theirs.latents) > 0.1


def test_respaced_dpm_sigmas_start_at_the_last_training_timestep(stock: Any) -> None:
    """diffusers cuts 998.9999 off to 998, from float32 noise in the log sigma of timestep 999."""
    config = {**BETAS, "use_exponential_sigmas": True}
    theirs = stock.trace("DPMSolverMultistepScheduler", config, 10)
    ours = compile_plan(config, 10, scheduler="DPMSolverMultistepScheduler")
    assert (theirs.timesteps[0], ours.timesteps[0]) == (998, 999)
    np.testing.assert_array_equal(ours.timesteps[1:], theirs.timesteps[1:])


def test_kdpm2_renoises_to_the_level_that_the_latents_are_on() -> None:
    """diffusers gives the level of the next whole step, half a step ahead."""
    plan = compile_plan(BETAS, 10, scheduler="kdpm2")
    np.testing.assert_allclose(plan.renoise[:-1, 1], plan.sigmas[1:-1])


@pytest.mark.parametrize(
    ("scheduler", "config", "steps"),
    [
        ("UniPCMultistepScheduler", {"solver_type": "bh1"}, 10),
        ("UniPCMultistepScheduler", {"predict_x0": False}, 10),
        ("UniPCMultistepScheduler", {"lower_order_final": False}, 10),
        ("DPMSolverMultistepScheduler", {"timestep_spacing": "leading"}, 1000),
        (
            "DDIMScheduler",
            {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "clip_sample": False},
            10,
        ),
    ],
)
def test_what_is_not_a_number_in_diffusers_is_an_error(
    scheduler: str, config: dict[str, Any], steps: int, stock: Any
) -> None:
    if steps < 1000:  # that many take long to trace
        assert not np.isfinite(stock.trace(scheduler, {**BETAS, **config}, steps).latents).all()
    with pytest.raises(RequestError):
        compile_plan({**BETAS, **config}, steps, scheduler=scheduler)


def test_what_diffusers_refuses_is_an_error(stock: Any) -> None:
    config = {**BETAS, "algorithm_type": "dpmsolver"}
    with pytest.raises(ValueError, match="is not supported for `algorithm_type` dpmsolver"):
        stock.trace("DPMSolverMultistepScheduler", config, 10)
    with pytest.raises(RequestError):
        compile_plan(config, 10, scheduler="DPMSolverMultistepScheduler")


def test_zero_signal_with_epsilon_is_an_error(stock: Any) -> None:
    """Where diffusers gives numbers, they reach 4096, and say nothing about the picture."""
    config = {**BETAS, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    assert np.abs(stock.trace("EulerDiscreteScheduler", config, 10).latents).max() > 4000
    with pytest.raises(RequestError):
        compile_plan(config, 10, scheduler="euler")


def test_kdpm2_ancestral_takes_large_steps(stock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers takes the root of a difference that float32 rounds below 0."""
    config = {**BETAS, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
    name = "KDPM2AncestralDiscreteScheduler"
    assert np.isnan(stock.trace(name, config, 2).latents).any()
    with monkeypatch.context() as patch, in_double(patch) as double:
        exact = double.trace(name, config, 2)
    ours = replay(compile_plan(config, 2, scheduler=name))
    assert deviation(ours.latents, exact.latents) < 1e-9


@pytest.mark.parametrize(
    "scheduler",
    [
        "PNDMScheduler",
        "EulerAncestralDiscreteScheduler",
        "KDPM2DiscreteScheduler",
        "KDPM2AncestralDiscreteScheduler",
    ],
)
def test_sample_prediction_works_for_all(scheduler: str, stock: Any) -> None:
    """That it is right is seen in test_scheduler_numerics.py: a sure model ends at its picture."""
    config = {**BETAS, "prediction_type": "sample", "skip_prk_steps": True}
    with pytest.raises((ValueError, NotImplementedError), match="prediction_type"):
        stock.trace(scheduler, config, 5)
    assert compile_plan(config, 5, scheduler=scheduler).stages >= 5


def test_repeated_timesteps_are_steps_of_their_own() -> None:
    """diffusers looks the first step up by its timestep, and finds the second of two alike."""
    plan = compile_plan(BETAS, 100, scheduler="dpmpp_2m_beta")
    assert (np.diff(plan.timesteps) == 0).any()
    assert (np.diff(plan.sigmas) < 0).all()


def test_karras_ends_hold_for_lms_too() -> None:
    plan = compile_plan({**BETAS, "sigma_min": 0.1, "sigma_max": 10.0}, 5, scheduler="lms_karras")
    assert (plan.sigmas[0], plan.sigmas[-2]) == (10.0, 0.1)


def test_a_file_that_does_not_mention_clipping_means_none() -> None:
    silent = compile_plan(BETAS, 10, scheduler="ddim")
    explicit = compile_plan({**BETAS, "clip_sample": False}, 10, scheduler="ddim")
    assert np.array_equal(silent.updates, explicit.updates)


def test_what_is_handed_over_is_blended_at_its_own_level() -> None:
    """diffusers blends the clean image into latents that are still noisy."""
    plan = compile_plan(BETAS, 10, scheduler="euler", denoising_end=0.8)
    assert list(plan.renoise[-1]) == [1, plan.sigmas[-1]]
    assert plan.sigmas[-1] > 0.1


def test_sigmas_of_a_respacing_configuration_are_refused() -> None:
    """diffusers ignores the configuration's spacing there."""
    with pytest.raises(RequestError):
        compile_plan(BETAS, scheduler="euler_karras", sigmas=[10.0, 1.0, 0.0])


def test_unipc_takes_no_sigmas() -> None:
    """diffusers takes them for flow matching alone."""
    with pytest.raises(RequestError):
        compile_plan(BETAS, scheduler="unipc", sigmas=[10.0, 1.0, 0.0])
