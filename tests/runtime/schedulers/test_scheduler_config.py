"""Reading scheduler_config.json, and finding schedulers by name."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from sdopt.runtime.schedulers import SCHEDULERS, Plan, compile_plan, find_scheduler, scheduler_names
from sdopt.runtime.schedulers.settings import CLASS_SETTINGS

SD15: dict[str, Any] = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}


def same(a: Plan, b: Plan) -> bool:
    names = ("timesteps", "inputs", "updates", "denoised", "noisy", "start", "renoise", "sigmas")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


@pytest.mark.parametrize("class_name", CLASS_SETTINGS)
def test_defaults_are_those_of_diffusers(class_name: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    parameters = inspect.signature(getattr(diffusers, class_name).__init__).parameters
    hidden = {"sigma_min", "sigma_max"}  # read from the file, by classes that do not declare them
    if class_name == "DEISMultistepScheduler":
        hidden.add("final_sigmas_type")  # it ends at the lowest sigma and knows nothing else
    for key, setting in CLASS_SETTINGS[class_name].items():
        if key in hidden and key not in parameters:
            continue
        default = parameters[key].default
        if key == "clip_sample":
            default = False  # as diffusers' Stable Diffusion pipelines put it right
        assert setting.default == (tuple(default) if isinstance(default, list) else default), key


@pytest.mark.parametrize("class_name", CLASS_SETTINGS)
def test_every_setting_of_diffusers_is_known_or_without_effect(class_name: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    without_effect = {
        "sample_max_value",  # belong to thresholding and clipping, which are refused
        "dynamic_thresholding_ratio",
        "clip_sample_range",
        "time_shift_type",  # belongs to dynamic shifting, which is refused
        "timestep_spacing",  # of LCM and TCD, which space by their distillation
        "steps_offset",
    }
    parameters = set(inspect.signature(getattr(diffusers, class_name).__init__).parameters)
    assert parameters - {"self"} <= set(CLASS_SETTINGS[class_name]) | without_effect


def test_the_file_names_the_scheduler() -> None:
    assert compile_plan(SD15, 10).name == "pndm"


def test_foreign_keys_are_ignored() -> None:
    foreign = {**SD15, "sample_max_value": 1.0, "solver_order": 9, "something": object()}
    assert same(compile_plan(foreign, 10), compile_plan(SD15, 10))


def test_keys_listed_as_defaults_take_the_target_class_default() -> None:
    config = {**SD15, "timestep_spacing": "leading", "_use_default_values": ["timestep_spacing"]}
    listed = compile_plan(config, 10, scheduler="euler")
    linspace = compile_plan({**SD15, "timestep_spacing": "linspace"}, 10, scheduler="euler")
    assert same(listed, linspace)


def test_changing_the_scheduler_keeps_shared_settings() -> None:
    config = {**SD15, "timestep_spacing": "leading", "prediction_type": "v_prediction"}
    plan = compile_plan(config, 10, scheduler="euler")
    assert plan.timesteps[0] == 901
    # At high noise a v output is nearly minus x0.
    assert plan.denoised[0, 1] < 0


@pytest.mark.parametrize("name", scheduler_names())
def test_every_name_compiles_to_a_plan_of_that_name(name: str) -> None:
    assert compile_plan(SD15, 5, scheduler=name).name == name


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("Euler a", "euler_ancestral"),
        ("DPM++ 2M Karras", "dpmpp_2m_karras"),
        ("DPM++ 2M SDE Exponential", "dpmpp_2m_sde_exponential"),
        ("DPM++ 3M SDE", "dpmpp_3m_sde"),
        ("DPM2 a Karras", "kdpm2_ancestral_karras"),
        ("PLMS", "pndm"),
        ("UniPC", "unipc"),
        ("EULER", "euler"),
        ("EulerDiscreteScheduler", "euler"),
        ("DPMSolverMultistepScheduler", "dpmpp_2m"),
    ],
)
def test_other_names_lead_to_the_same_table(name: str, public: str) -> None:
    ours = compile_plan(SD15, 5, scheduler=public)
    other = compile_plan(SD15, 5, scheduler=name)
    assert other.name == public
    assert same(ours, other)


def test_no_two_schedulers_share_a_name() -> None:
    known = [name for spec in SCHEDULERS for name in (spec.name, *spec.aliases)]
    assert len(set(known)) == len(known)
    assert all(find_scheduler(spec.name).spec is spec for spec in SCHEDULERS)


def test_a_class_name_leaves_the_settings_to_the_file() -> None:
    config = {**SD15, "algorithm_type": "sde-dpmsolver++", "solver_order": 3}
    assert compile_plan(config, 5, scheduler="DPMSolverMultistepScheduler").name == "dpmpp_3m_sde"
    third = {**SD15, "solver_order": 3}
    name = compile_plan(third, 5, scheduler="DPMSolverMultistepScheduler").name
    assert name == "DPMSolverMultistepScheduler"


def test_a_suffix_replaces_the_spacing_of_the_file() -> None:
    config = {**SD15, "use_beta_sigmas": True}
    assert compile_plan(config, 5, scheduler="euler").name == "euler_beta"
    assert compile_plan(config, 5, scheduler="euler_karras").name == "euler_karras"
