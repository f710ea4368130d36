"""What a plan must do whatever diffusers does: order, exactness, draws, immutability."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdopt.runtime.schedulers import SCHEDULERS, Plan, compile_plan, scheduler_names
from sdopt.runtime.schedulers.spacing import respaced_sigmas

CONFIG: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
}


def follow(plan: Plan, model: Any, stages: int, start: float = 1.0, seed: int = 0) -> float:
    """Run a model of one number, ``model(sample, sigma)``, and return the latents."""
    rng = np.random.default_rng(seed)
    state = np.zeros(plan.state_rows)
    state[0] = start
    for i in range(stages):
        output = model(plan.inputs[i] @ state, plan.sigmas[i])
        state = plan.updates[i] @ np.array([*state, output, rng.normal()])
    return float(state[0])


ORDERS = {
    "ddim": 1,
    "euler": 1,
    "heun": 2,
    "kdpm2": 2,
    "lms": 2,
    "pndm": 2,
    "dpmpp_2m": 2,
    "dpmpp_2s": 2,
    "deis": 2,
    "unipc": 2,
}


@pytest.mark.parametrize(("name", "order"), ORDERS.items())
def test_order_of_convergence_on_gaussian_data(name: str, order: int) -> None:
    """For data of variance v the flow is known: u(σ) grows as sqrt((v + σ²) / (1 + σ²)).

    u is the latents at unit variance, v = 0.25. The last step, of no fixed size, is left out.
    Sigmas are interpolated between training timesteps, so there are many of them.
    """
    variance = 0.25
    train = 20_000

    def ideal_epsilon(u: float, sigma: float) -> float:
        alpha, s = 1 / np.hypot(1, sigma), sigma / np.hypot(1, sigma)
        x0 = alpha * variance * u / (alpha**2 * variance + s**2)
        return (u - alpha * x0) / s

    def error(steps: int) -> float:
        config = {
            **CONFIG,
            "num_train_timesteps": train,
            "beta_start": 0.00085 / 20,
            "beta_end": 0.012 / 20,
            "timestep_spacing": "leading" if name in ("ddim", "pndm") else "linspace",
        }
        plan = compile_plan(config, steps, scheduler=name)
        stages = int(np.argmax(plan.sigmas < 0.3)) // 2 * 2
        first, last = plan.sigmas[0], plan.sigmas[stages]
        exact = np.sqrt((variance + last**2) / (variance + first**2))
        if plan.inputs[0, 0] == 1:
            exact *= np.hypot(1, first) / np.hypot(1, last)
        return abs(follow(plan, ideal_epsilon, stages) - exact) / exact

    observed = np.log2(error(100) / error(200)), np.log2(error(200) / error(400))
    assert min(observed) > order - 0.35, observed
    if order == 1:
        assert max(observed) < 1.35, observed


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
@pytest.mark.parametrize(
    "name", [n for n in scheduler_names() if not n.startswith(("deis", "tcd"))]
)
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_a_model_sure_of_one_picture_ends_at_it(
    name: str, prediction_type: str, steps: int
) -> None:
    """Where the run ends without noise, it ends at x0, whatever noise was drawn on the way."""
    if name == "pndm" and prediction_type == "v_prediction" and steps > 1:
        pytest.skip("PLMS combines v outputs of different levels, which is exact for none")
    x0 = 0.7

    def sure(u: float, sigma: float) -> float:
        alpha, s = 1 / np.hypot(1, sigma), sigma / np.hypot(1, sigma)
        epsilon = (u - alpha * x0) / s
        answers = {"sample": x0, "v_prediction": alpha * epsilon - s * x0, "epsilon": epsilon}
        return answers[prediction_type]

    config = {**CONFIG, "prediction_type": prediction_type, "set_alpha_to_one": True}
    plan = compile_plan(config, steps, scheduler=name)
    # LCM mixes in a little of the latents: 0.25 / (10 t)².
    tolerance = 1e-4 if name == "lcm" else 1e-9
    assert follow(plan, sure, plan.stages, plan.start[1]) == pytest.approx(x0, abs=tolerance)


@pytest.mark.parametrize(
    ("name", "stages", "draws"),
    [
        ("ddim", 10, 0),
        ("ddpm", 10, 9),
        ("pndm", 11, 0),
        ("lms", 10, 0),
        ("euler", 10, 0),
        ("euler_ancestral", 10, 10),
        ("heun", 19, 0),
        ("kdpm2", 19, 0),
        ("kdpm2_ancestral", 19, 9),
        ("dpmpp_2m", 10, 0),
        ("dpmpp_2m_sde", 10, 10),
        ("dpmpp_3m_sde", 10, 10),
        ("dpmpp_2s", 10, 0),
        ("unipc", 10, 0),
        ("deis", 10, 0),
        ("lcm", 10, 9),
        ("tcd", 10, 0),
    ],
)
def test_evaluations_and_draws(name: str, stages: int, draws: int) -> None:
    plan = compile_plan(CONFIG, 10, scheduler=name)
    assert (plan.stages, plan.noise_draws) == (stages, draws)
    quiet = plan.updates[~plan.noisy]
    assert not quiet[:, :, -1].any()


def test_noise_with_eta() -> None:
    assert compile_plan(CONFIG, 10, scheduler="ddim", eta=0.3).noise_draws == 10
    assert compile_plan(CONFIG, 10, scheduler="tcd", eta=0.3).noise_draws == 9


@pytest.mark.parametrize("spec", SCHEDULERS, ids=lambda spec: spec.name)
def test_image_to_image_is_the_end_of_the_full_run(spec: Any) -> None:
    full = compile_plan(CONFIG, 20, scheduler=spec.name)
    part = compile_plan(CONFIG, 20, scheduler=spec.name, strength=0.5)
    np.testing.assert_array_equal(part.timesteps, full.timesteps[-part.stages :])
    sigma = part.sigmas[0]
    scales = (1, sigma) if spec.latents == "ve" else np.array([1, sigma]) / np.hypot(1, sigma)
    np.testing.assert_allclose(part.start, scales)


def test_tasks_differ_in_how_they_start() -> None:
    starts = {
        task: compile_plan(CONFIG, 10, scheduler="euler", task=task).start
        for task in ("text_to_image", "image_to_image", "inpainting")
    }
    sigma = compile_plan(CONFIG, 10, scheduler="euler").sigmas[0]
    assert list(starts["text_to_image"]) == [0, sigma]
    assert list(starts["image_to_image"]) == [1, sigma]
    assert list(starts["inpainting"]) == [0, sigma]
    partly = compile_plan(CONFIG, 10, scheduler="euler", strength=0.5, task="inpainting")
    assert list(partly.start) == [1, partly.sigmas[0]]


def test_plans_are_immutable() -> None:
    plan = compile_plan(CONFIG, 5, scheduler="lms")
    for field in dataclasses.fields(plan)[1:]:
        array = getattr(plan, field.name)
        assert array.dtype == (np.bool_ if field.name == "noisy" else np.float64)
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.name = "other"  # type: ignore[misc]


def test_plans_check_their_shapes() -> None:
    plan = compile_plan(CONFIG, 5, scheduler="euler")
    with pytest.raises(ValueError, match=r"^Plan.sigmas has shape \(5,\), not \(6,\)\.$"):
        dataclasses.replace(plan, sigmas=plan.sigmas[:-1])


def test_plans_say_what_they_are() -> None:
    plan = compile_plan(CONFIG, 5, scheduler="dpmpp_2m_sde")
    assert repr(plan) == "Plan('dpmpp_2m_sde', stages=5, state_rows=2, noise_draws=5)"


def test_compiling_twice_gives_the_same_numbers() -> None:
    first, second = (compile_plan(CONFIG, 30, scheduler="dpmpp_2m_beta") for _ in range(2))
    np.testing.assert_array_equal(first.updates, second.updates)


@given(
    name=st.sampled_from(scheduler_names()),
    steps=st.integers(1, 50),
    spacing=st.sampled_from(["leading", "linspace", "trailing"]),
    strength=st.floats(0.02, 1.0),
)
def test_coefficients_are_finite(name: str, steps: int, spacing: str, strength: float) -> None:
    config = {**CONFIG, "timestep_spacing": spacing}
    plan = compile_plan(
        config, steps, scheduler=name, strength=max(strength, min(1.0, 1.5 / steps))
    )
    for array in (plan.inputs, plan.updates, plan.denoised, plan.start, plan.renoise, plan.sigmas):
        assert np.isfinite(array).all()
    assert (np.diff(plan.sigmas) < 1e-9).all()


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 101])
def test_beta_spacing_needs_no_scipy(steps: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = stats.beta.ppf(1 - np.linspace(0, 1, steps), 0.6, 0.6)
    np.testing.assert_allclose(respaced_sigmas("beta", 0.0, 1.0, steps), expected, rtol=1e-12)
