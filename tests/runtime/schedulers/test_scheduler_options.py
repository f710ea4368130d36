"""What a request changes in a plan, against diffusers patched to compute in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from sdopt.runtime.schedulers import SCHEDULERS, Churn, SchedulerSpec, compile_plan
from tests.runtime.schedulers.tracing import deviation, replay

BETAS: Mapping[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "skip_prk_steps": True,
    "clip_sample": False,
    "steps_offset": 1,
}
TOLERANCE = 1e-9  # both sides compute in float64
ALIGN_YOUR_STEPS = [999, 850, 736, 645, 545, 455, 343, 233, 124, 24]
"""Sabour et al. 2024, for Stable Diffusion 1.5 in 10 steps."""
ALIGN_YOUR_SIGMAS = [14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.38, 0.234, 0.113, 0.0]


def assert_same(plan: Any, theirs: Any, *, denoised: bool = True) -> None:
    ours = replay(plan)
    np.testing.assert_allclose(ours.timesteps, theirs.timesteps, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(ours.noisy, theirs.noisy)
    assert deviation(ours.inputs, theirs.inputs) < TOLERANCE
    assert deviation(ours.latents, theirs.latents) < TOLERANCE
    if denoised and theirs.denoised is not None:
        assert deviation(ours.denoised, theirs.denoised) < TOLERANCE


# --- churn --------------------------------------------------------------------------------------

CHURN = {
    "little": {"s_churn": 1.0},
    "as much as there can be": {"s_churn": 1000.0},
    "between": {"s_churn": 4.0, "s_tmin": 0.2, "s_tmax": 5.0, "s_noise": 1.007},
    "without its noise": {"s_churn": 4.0, "s_noise": 0.0},
}


@pytest.mark.parametrize("churn", CHURN.values(), ids=CHURN)
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("strength", [None, 0.5])
def test_churn(
    churn: dict[str, float], prediction_type: str, strength: float | None, double: Any
) -> None:
    config = {**BETAS, "prediction_type": prediction_type}
    theirs = double.trace("EulerDiscreteScheduler", config, 10, strength=strength, **churn)
    plan = compile_plan(
        config,
        10,
        scheduler="euler",
        churn=Churn(**churn),
        strength=strength or 1.0,
    )
    assert_same(plan, theirs, denoised=False)


def test_churn_is_drawn_where_it_is_asked_for() -> None:
    plan = compile_plan(BETAS, 10, scheduler="euler", churn=Churn(s_churn=4, s_tmin=1, s_tmax=5))
    inside = (plan.sigmas[:-1] >= 1) & (plan.sigmas[:-1] <= 5)
    assert 0 < inside.sum() < 10
    np.testing.assert_array_equal(plan.noisy, inside)


def test_previews_show_the_picture_before_churn() -> None:
    churned = compile_plan(BETAS, 10, scheduler="euler", churn=Churn(s_churn=4))
    plain = compile_plan(BETAS, 10, scheduler="euler")
    np.testing.assert_array_equal(churned.denoised, plain.denoised)
    assert not np.array_equal(churned.updates, plain.updates)


# --- handing over to a refiner ------------------------------------------------------------------

HANDOVERS = {
    "base": {"denoising_end": 0.8},
    "refiner": {"denoising_start": 0.8},
    "between": {"denoising_start": 0.3, "denoising_end": 0.7},
    "on a timestep": {"denoising_start": 0.499, "denoising_end": 0.799},
}


@pytest.mark.parametrize("steps", [10, 25])
@pytest.mark.parametrize("handover", HANDOVERS.values(), ids=HANDOVERS)
@pytest.mark.parametrize("spec", SCHEDULERS, ids=lambda spec: spec.name)
def test_handover(spec: SchedulerSpec, handover: dict[str, float], steps: int, double: Any) -> None:
    if spec.name == "lms" and "denoising_start" in handover:
        pytest.skip("deviates in image to image, see test_scheduler_deviations.py")
    config = {**BETAS, **spec.forced, "timestep_spacing": "leading"}
    eta = {"eta": 0.7} if "eta" in spec.honours else {}
    theirs = double.trace(spec.class_name, config, steps, **handover, **eta)
    plan = compile_plan(config, steps, scheduler=spec.name, **handover, **eta)
    assert_same(plan, theirs)
    from_noise = [0, compile_plan(config, steps, scheduler=spec.name, **eta).start[1]]
    assert list(plan.start) == ([1, 0] if "denoising_start" in handover else from_noise)


@pytest.mark.parametrize("spec", SCHEDULERS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("share", [0.25, 0.6, 0.83])
def test_two_runs_go_through_the_timesteps_of_one(spec: SchedulerSpec, share: float) -> None:
    full = compile_plan(BETAS, 20, scheduler=spec.name)
    base = compile_plan(BETAS, 20, scheduler=spec.name, denoising_end=share)
    refiner = compile_plan(BETAS, 20, scheduler=spec.name, denoising_start=share)
    both = [*base.timesteps, *refiner.timesteps]
    repeated = len(both) - full.stages
    # The refiner starts a whole step: with two evaluations per step one of them may be made twice.
    assert repeated in ((0, 1) if spec.name.startswith(("heun", "kdpm2")) else (0,))
    assert [*base.timesteps, *refiner.timesteps[repeated:]] == list(full.timesteps)
    np.testing.assert_array_equal(base.updates, full.updates[: base.stages])
    np.testing.assert_array_equal(base.sigmas, full.sigmas[: base.stages + 1])


def test_a_first_order_run_in_two_parts_is_the_run() -> None:
    full = compile_plan(BETAS, 20, scheduler="euler")
    base = compile_plan(BETAS, 20, scheduler="euler", denoising_end=0.8)
    refiner = compile_plan(BETAS, 20, scheduler="euler", denoising_start=0.8)
    np.testing.assert_array_equal(np.concatenate([base.updates, refiner.updates]), full.updates)


def test_a_strength_and_an_end() -> None:
    full = compile_plan(BETAS, 20, scheduler="euler")
    plan = compile_plan(BETAS, 20, scheduler="euler", strength=0.5, denoising_end=0.8)
    np.testing.assert_array_equal(plan.timesteps, [t for t in full.timesteps[10:] if t >= 200])
    assert plan.start[0] == 1


# --- timesteps and sigmas of one's own ----------------------------------------------------------

TAKE_TIMESTEPS = [spec for spec in SCHEDULERS if "timesteps" in spec.honours]


@pytest.mark.parametrize("strength", [None, 0.6])
@pytest.mark.parametrize("timesteps", [ALIGN_YOUR_STEPS, [999, 500], [700]], ids=len)
@pytest.mark.parametrize("spec", TAKE_TIMESTEPS, ids=lambda spec: spec.name)
def test_timesteps(
    spec: SchedulerSpec, timesteps: list[int], strength: float | None, double: Any
) -> None:
    if len(timesteps) == 1:
        strength = None
    config = {**BETAS, **spec.forced}
    eta = {"eta": 0.7} if "eta" in spec.honours else {}
    theirs = double.trace(
        spec.class_name,
        config,
        len(timesteps),
        strength=strength,
        custom={"timesteps": timesteps},
        **eta,
    )
    plan = compile_plan(
        config, scheduler=spec.name, timesteps=timesteps, strength=strength or 1.0, **eta
    )
    assert_same(plan, theirs)


def skipped(timesteps: list[int], strength: float | None) -> int:
    return 0 if strength is None else len(timesteps) - int(len(timesteps) * strength)


SIGMAS = {"to 0": ALIGN_YOUR_SIGMAS, "not to 0": [10.0, 3.0, 0.5], "beyond": [80.0, 5.0, 1e-3, 0.0]}


@pytest.mark.parametrize("strength", [None, 0.6])
@pytest.mark.parametrize("sigmas", SIGMAS.values(), ids=SIGMAS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"prediction_type": "v_prediction"},
        {"timestep_type": "continuous", "prediction_type": "v_prediction"},
        {"timestep_spacing": "leading"},
    ],
    ids=["plain", "v", "continuous", "leading"],
)
def test_sigmas(
    settings: dict[str, Any], sigmas: list[float], strength: float | None, double: Any
) -> None:
    config = {**BETAS, **settings}
    theirs = double.trace(
        "EulerDiscreteScheduler",
        config,
        len(sigmas) - 1,
        strength=strength,
        custom={"sigmas": sigmas},
    )
    plan = compile_plan(config, scheduler="euler", sigmas=sigmas, strength=strength or 1.0)
    assert_same(plan, theirs)
    np.testing.assert_allclose(plan.sigmas, sigmas[skipped(sigmas[1:], strength) :])


@pytest.mark.parametrize("spec", SCHEDULERS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("option", ["timesteps", "sigmas"])
def test_what_diffusers_takes_we_take(spec: SchedulerSpec, option: str) -> None:
    """UniPC takes sigmas in diffusers, but for flow matching alone and without their end."""
    import inspect

    diffusers = pytest.importorskip("diffusers")
    method: Callable[..., Any] = getattr(diffusers, spec.class_name).set_timesteps
    takes = option in inspect.signature(method).parameters and spec.name != "unipc"
    assert (option in spec.honours) == takes


# --- flow matching ------------------------------------------------------------------------------

FLOW_CASES: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "shifted": {"flow_shift": 3.0},
    "third-order": {"solver_order": 3},
    "second-order-heun": {"solver_type": "heun"},
    "bh2": {"solver_type": "bh2", "flow_shift": 5.0},
    "sde": {"algorithm_type": "sde-dpmsolver++"},
    "repeats-last": {"final_sigmas_type": "sigma_min", "flow_shift": 3.0},
}
FLOW_CLASSES = {
    "DPMSolverMultistepScheduler": {"plain", "shifted", "third-order", "second-order-heun", "sde"},
    "DPMSolverSinglestepScheduler": {"plain", "shifted", "third-order", "second-order-heun", "sde"},
    "UniPCMultistepScheduler": {"plain", "shifted", "third-order", "bh2", "repeats-last"},
    "DEISMultistepScheduler": {"plain", "shifted", "third-order"},
}


@pytest.mark.parametrize("strength", [None, 0.5])
@pytest.mark.parametrize("steps", [2, 5, 20])
@pytest.mark.parametrize(
    ("class_name", "case"),
    [(name, case) for name in FLOW_CLASSES for case in sorted(FLOW_CLASSES[name])],
)
def test_flow_matching(
    class_name: str, case: str, steps: int, strength: float | None, double: Any
) -> None:
    config = {
        **BETAS,
        "use_flow_sigmas": True,
        "prediction_type": "flow_prediction",
        **FLOW_CASES[case],
    }
    theirs = double.trace(class_name, config, steps, strength=strength)
    plan = compile_plan(config, steps, scheduler=class_name, strength=strength or 1.0)
    assert_same(plan, theirs)
