"""Every coefficient of every plan against diffusers' own ``step``, traced on one-hot vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from sdopt.runtime.schedulers import SCHEDULERS, SchedulerSpec, compile_plan
from sdopt.runtime.schedulers.settings import CLASS_SETTINGS
from tests.runtime.schedulers.tracing import deviation, replay

STABLE_DIFFUSION: Mapping[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "skip_prk_steps": True,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}

CASES: Mapping[str, Mapping[str, Any]] = {
    "stable-diffusion": {},
    "leading": {"timestep_spacing": "leading", "steps_offset": 0},
    "leading-offset": {"timestep_spacing": "leading"},
    "linspace": {"timestep_spacing": "linspace"},
    "trailing": {"timestep_spacing": "trailing"},
    "v": {"prediction_type": "v_prediction"},
    "sample": {"prediction_type": "sample"},
    "alpha-to-one": {"set_alpha_to_one": True},
    "linear-betas": {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
    "cosine-betas": {"beta_schedule": "squaredcos_cap_v2"},
    "trained-betas": {"trained_betas": list(np.linspace(1e-4, 0.02, 1000))},
    "zero-snr": {
        "rescale_betas_zero_snr": True,
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
    },
    "karras": {"use_karras_sigmas": True},
    "karras-leading": {"use_karras_sigmas": True, "timestep_spacing": "leading"},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
    "lu": {"use_lu_lambdas": True},
    "sigma-ends": {"use_exponential_sigmas": True, "sigma_min": 0.05, "sigma_max": 10.0},
    "final-sigma-min": {"final_sigmas_type": "sigma_min"},
    "log-linear": {"interpolation_type": "log_linear"},
    "continuous": {"timestep_type": "continuous", "prediction_type": "v_prediction"},
    "second-order-heun": {"solver_type": "heun"},
    "euler-at-final": {"euler_at_final": True, "final_sigmas_type": "sigma_min"},
    "no-lower-order": {"lower_order_final": False, "final_sigmas_type": "sigma_min"},
    "clipped-lambda": {"lambda_min_clipped": -2.0},
    "first-order": {"solver_order": 1},
    "third-order": {"solver_order": 3},
    "third-order-heun": {"solver_order": 3, "solver_type": "heun"},
    "noise-form": {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
    "noise-form-third-order": {
        "algorithm_type": "dpmsolver",
        "solver_order": 3,
        "final_sigmas_type": "sigma_min",
    },
    "sde-heun": {"algorithm_type": "sde-dpmsolver++", "solver_type": "heun"},
    "bh1": {"solver_type": "bh1", "final_sigmas_type": "sigma_min"},
    "bh1-third-order": {"solver_type": "bh1", "solver_order": 3, "final_sigmas_type": "sigma_min"},
    "predict-noise": {"predict_x0": False, "final_sigmas_type": "sigma_min"},
    "some-uncorrected": {"disable_corrector": [0, 3]},
    "large-variance": {"variance_type": "fixed_large"},
    "log-variance": {"variance_type": "fixed_small_log"},
}

STEPS = (1, 2, 3, 5, 10, 25, 50, 61, 100)
NO_SAMPLE_PREDICTION = {
    "PNDMScheduler",
    "EulerAncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
}
DISTILLED = {"LCMScheduler", "TCDScheduler"}


def applies(spec: SchedulerSpec, case: Mapping[str, Any]) -> bool:
    """Whether diffusers' class has all of the case's settings and accepts their values."""
    settings = CLASS_SETTINGS[spec.class_name]
    if not set(case) <= set(settings) or set(case) & set(spec.forced):
        return False
    if case.get("prediction_type") == "sample" and spec.class_name in NO_SAMPLE_PREDICTION:
        return False
    if spec.name == "deis" and {"final_sigmas_type", "algorithm_type"} & set(case):
        return False
    foreign = {"bh1"} if spec.class_name != "UniPCMultistepScheduler" else {"heun"}
    return case.get("solver_type") not in foreign


def runs(
    index: int, spec: SchedulerSpec, case: Mapping[str, Any]
) -> Iterator[tuple[int, float | None]]:
    """Pick step counts and strengths: all for the first case, a third of them for each other."""
    for i, steps in enumerate(STEPS if not case else STEPS[index % 3 :: 3]):
        if spec.class_name in DISTILLED and steps > 50:
            continue
        if case.get("timestep_spacing") == "trailing" and steps == 61:
            continue  # diffusers makes 62 steps of it, see test_scheduler_deviations.py
        strength = (None, 0.5, 1.0)[(index + i) % 3]
        if spec.name == "lms" and strength == 0.5:
            continue  # the same
        yield steps, None if steps == 1 and strength == 0.5 else strength


ROWS = [
    pytest.param(index, spec, case, id=f"{spec.name}-{name}")
    for index, (spec, (name, case)) in enumerate(
        (spec, item) for spec in SCHEDULERS for item in CASES.items() if applies(spec, item[1])
    )
]


def compiled(
    spec: SchedulerSpec, config: Mapping[str, Any], steps: int, strength: float | None
) -> Any:
    return compile_plan(
        config,
        steps,
        scheduler=spec.class_name,
        eta=0.7 if "eta" in spec.honours else 0.0,
        strength=1.0 if strength is None else strength,
        task="text_to_image" if strength is None else "image_to_image",
    )


@pytest.mark.parametrize(("index", "spec", "case"), ROWS)
def test_equals_diffusers_in_float64(
    index: int,
    spec: SchedulerSpec,
    case: Mapping[str, Any],
    double: Any,
) -> None:
    config = {**STABLE_DIFFUSION, **spec.forced, **case}
    eta = {"eta": 0.7} if "eta" in spec.honours else {}
    for steps, strength in runs(index, spec, case):
        theirs = double.trace(spec.class_name, config, steps, strength=strength, **eta)
        ours = replay(compiled(spec, config, steps, strength))
        np.testing.assert_allclose(ours.timesteps, theirs.timesteps, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(ours.noisy, theirs.noisy)
        assert deviation(ours.inputs, theirs.inputs) < 1e-9
        assert deviation(ours.latents, theirs.latents) < 1e-9
        if theirs.denoised is not None:
            assert deviation(ours.denoised, theirs.denoised) < 1e-9
        if strength is not None and not spec.name.startswith("kdpm2"):
            assert deviation(ours.renoised, theirs.renoised) < 1e-9


def stock_tolerance(spec: SchedulerSpec, config: Mapping[str, Any]) -> float:
    """Return how far the last latents' coefficients may be off, with sizes above 1 as the unit.

    Our float64 agrees with diffusers in float64 to 1e-9 (the test above), so this is the error of
    diffusers in float32, as measured, rounded up.
    """
    if config.get("rescale_betas_zero_snr") or config.get("solver_order") == 3:
        return 5e-4  # differences of nearly equal numbers, and sigmas up to 4096
    if spec.name == "deis":
        return 1e-4  # differences of products with log sigma
    if spec.name == "lms" or config.get("prediction_type") == "sample":
        return 2e-5  # differences of sigmas; division by the noise scale where it is small
    return 5e-6


@pytest.mark.parametrize(("index", "spec", "case"), ROWS)
def test_equals_stock_diffusers(
    index: int,
    spec: SchedulerSpec,
    case: Mapping[str, Any],
    stock: Any,
) -> None:
    """Stock diffusers computes its tables in float32, which the tolerances are for."""
    if "squaredcos_cap_v2" in case.values():
        pytest.skip("float32 says little about cosine betas")
    config = {**STABLE_DIFFUSION, **spec.forced, **case}
    eta = {"eta": 0.7} if "eta" in spec.honours else {}
    for steps, strength in runs(index, spec, case):
        theirs = stock.trace(spec.class_name, config, steps, strength=strength, **eta)
        ours = replay(compiled(spec, config, steps, strength))
        truncated = any(case.get(f"use_{kind}_sigmas") for kind in ("exponential", "beta"))
        np.testing.assert_allclose(
            ours.timesteps[truncated:], theirs.timesteps[truncated:], rtol=0, atol=0.01
        )
        assert deviation(ours.latents[-1:], theirs.latents[-1:]) < stock_tolerance(spec, config)
