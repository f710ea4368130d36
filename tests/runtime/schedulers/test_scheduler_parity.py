"""Every coefficient of every plan against diffusers' own ``step``, traced on one-hot vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest

from sdopt.runtime.schedulers import SCHEDULERS, Plan, SchedulerSpec, compile_plan
from sdopt.runtime.schedulers.settings import CLASS_SETTINGS
from tests.runtime.schedulers.tracing import Diffusers, Trace, deviation, in_double, replay

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


@dataclass(frozen=True)
class Runs:
    """A scheduler with a configuration, at step counts and strengths; None is text to image."""

    spec: SchedulerSpec
    case: Mapping[str, Any]
    chosen: tuple[tuple[int, float | None], ...]

    @property
    def config(self) -> dict[str, Any]:
        return {**STABLE_DIFFUSION, **self.spec.forced, **self.case}

    @property
    def eta(self) -> dict[str, float]:
        return {"eta": 0.7} if "eta" in self.spec.honours else {}

    def plan(self, steps: int, strength: float | None) -> Plan:
        return compile_plan(
            self.config,
            steps,
            scheduler=self.spec.class_name,
            strength=1.0 if strength is None else strength,
            task="text_to_image" if strength is None else "image_to_image",
            **self.eta,
        )

    def ours(self, steps: int, strength: float | None) -> Trace:
        return replay(self.plan(steps, strength))

    def theirs(self, diffusers: Diffusers, steps: int, strength: float | None) -> Trace:
        return diffusers.trace(
            self.spec.class_name, self.config, steps, strength=strength, **self.eta
        )


def sampled(index: int, spec: SchedulerSpec, case: Mapping[str, Any]) -> Runs:
    """Pick all step counts for the first case, a third for each other; one strength each."""
    chosen = [
        (steps, (None, 0.5, 1.0)[(index + i) % 3])
        for i, steps in enumerate(STEPS if not case else STEPS[index % 3 :: 3])
    ]
    return Runs(spec, case, tuple(run for run in chosen if comparable(spec, case, *run)))


def everything(_index: int, spec: SchedulerSpec, case: Mapping[str, Any]) -> Runs:
    """Take every step count with every strength."""
    chosen = product(STEPS, (None, 0.5, 1.0))
    return Runs(spec, case, tuple(run for run in chosen if comparable(spec, case, *run)))


def comparable(
    spec: SchedulerSpec, case: Mapping[str, Any], steps: int, strength: float | None
) -> bool:
    """Whether the run exists in diffusers; three deviate, see test_scheduler_deviations.py."""
    too_many = spec.class_name in DISTILLED and steps > 50
    one_step_more = case.get("timestep_spacing") == "trailing" and steps == 61
    nothing_left = steps == 1 and strength == 0.5
    without_history = spec.name == "lms" and strength == 0.5
    return not (too_many or one_step_more or nothing_left or without_history)


ROWS = [
    pytest.param(
        pick(index, spec, case),
        id=f"{spec.name}-{name}{'-everything' if pick is everything else ''}",
        marks=[pytest.mark.slow] if pick is everything else [],
    )
    for pick in (sampled, everything)
    for index, (spec, (name, case)) in enumerate(
        (spec, item) for spec in SCHEDULERS for item in CASES.items() if applies(spec, item[1])
    )
]


@pytest.mark.parametrize("runs", ROWS)
def test_equals_diffusers_in_float64(runs: Runs, double: Diffusers) -> None:
    """Over all of the slow grid the largest deviation of the last latents is 1e-11."""
    for run in runs.chosen:
        theirs, ours = runs.theirs(double, *run), runs.ours(*run)
        lost = lost_digits(runs.spec, runs.plan(*run))
        np.testing.assert_allclose(
            ours.timesteps, theirs.timesteps, rtol=0, atol=1e-6 + 1000 * lost
        )
        np.testing.assert_array_equal(ours.noisy, theirs.noisy)
        assert deviation(ours.inputs, theirs.inputs) < 1e-9 + lost
        assert deviation(ours.latents, theirs.latents) < 1e-9
        if theirs.denoised is not None:
            assert deviation(ours.denoised, theirs.denoised) < 1e-9
        if not runs.spec.name.startswith("kdpm2"):
            assert deviation(ours.renoised, theirs.renoised) < 1e-9


def lost_digits(spec: SchedulerSpec, plan: Plan) -> float:
    """Return the relative error of diffusers' ``sigma_down`` in float64, 0 where it has none.

    Its ancestral KDPM2 takes sigma_down² as σ'² - sigma_up², which is σ'²·(σ'/σ)²: so the rounding
    of σ'² counts (σ/σ')² times. Only cosine betas have steps so large that it shows. sigma_down
    decides where the midpoint lies; ours comes without a difference.
    """
    if spec.name != "kdpm2_ancestral":
        return 0.0
    sigmas = plan.sigmas[:-1:2]
    return float(np.finfo(np.float64).eps * np.max((sigmas[:-1] / sigmas[1:]) ** 2, initial=0.0))


def stock_tolerance(config: Mapping[str, Any], steps: int) -> float:
    """Return how far the last latents may be off, relative to their largest coefficient.

    Stock diffusers computes its tables in float32. Solvers of order 3 divide differences of
    differences by small steps, and sigmas at zero terminal SNR reach 4096.
    """
    third_order = config.get("solver_order") == 3
    return 2e-4 if third_order or (config.get("rescale_betas_zero_snr") and steps > 50) else 5e-6


@pytest.mark.parametrize("runs", ROWS)
def test_equals_stock_diffusers(
    runs: Runs, stock: Diffusers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where we are further off than the tolerance, diffusers is as far from itself in float64.

    Of the 6673 runs of the slow grid these are 394 (docs/schedulers.md lists them). Their float32
    loses digits in 1 - ᾱ at low timesteps and of cosine betas, in divisions by a small noise scale
    (``sample`` prediction), and in divided differences of sigmas that nearly coincide (``beta``).
    """
    for run in runs.chosen:
        theirs, ours = runs.theirs(stock, *run), runs.ours(*run)
        if np.isnan(theirs.timesteps).any() or np.isnan(theirs.latents).any():
            assert runs.spec.name == "kdpm2_ancestral"  # see test_scheduler_deviations.py
            continue
        assert_timesteps(runs.case, ours, theirs)
        error = deviation(ours.latents[-1:], theirs.latents[-1:])
        if error >= stock_tolerance(runs.config, run[0]):
            with monkeypatch.context() as patch, in_double(patch) as double:
                exact = runs.theirs(double, *run)
            assert error < deviation(exact.latents[-1:], theirs.latents[-1:]) + 1e-9


def assert_timesteps(case: Mapping[str, Any], ours: Trace, theirs: Trace) -> None:
    """Interpolated in float32 they are off by less than a hundredth.

    Not compared are the first of those that diffusers cuts off (it deviates), and those between
    log sigmas of cosine betas, which are wrong in the fourth digit.
    """
    if "squaredcos_cap_v2" in case.values():
        return
    first = int(any(case.get(f"use_{kind}_sigmas") for kind in ("exponential", "beta")))
    np.testing.assert_allclose(ours.timesteps[first:], theirs.timesteps[first:], rtol=0, atol=0.01)
