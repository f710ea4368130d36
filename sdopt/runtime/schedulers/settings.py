"""The settings that each diffusers scheduler class has: defaults, and the values that we accept.

The defaults are those of the classes' constructors in diffusers (a test compares them).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

from sdopt.errors import UnsupportedSchedulerConfigError

Check = Callable[[str, object], object]


class Setting(NamedTuple):
    """One setting of one class: its default, and the check that turns JSON into a typed value."""

    default: object
    check: Check


SIGMA_SPACINGS: Mapping[str, str] = {
    "karras": "use_karras_sigmas",
    "exponential": "use_exponential_sigmas",
    "beta": "use_beta_sigmas",
    "lu": "use_lu_lambdas",
}
"""Ways to respace sigmas, and the setting that switches each on."""


# --- checks -------------------------------------------------------------------------------------


def _flag(key: str, value: object) -> bool:
    if value is not None and not isinstance(value, bool):
        raise UnsupportedSchedulerConfigError(key, value, "true or false")
    return bool(value)


def _number(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnsupportedSchedulerConfigError(key, value, "a number")
    return float(value)


def _optional_number(key: str, value: object) -> float | None:
    return None if value is None else _number(key, value)


def _lambda_min(key: str, value: object) -> float:
    return float("-inf") if value in (None, "-inf", "-Infinity") else _number(key, value)


def _whole(low: int, high: int) -> Check:
    def check(key: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise UnsupportedSchedulerConfigError(
                key, value, f"a whole number from {low} to {high}"
            )
        return value

    return check


def _one_of(*choices: str, also: Mapping[str, str] | None = None) -> Check:
    """Accept ``choices``, and the foreign names in ``also`` as diffusers replaces them."""
    foreign = also or {}

    def check(key: str, value: object) -> str:
        if isinstance(value, str) and (value in choices or value in foreign):
            return foreign.get(value, value)
        raise UnsupportedSchedulerConfigError(key, value, "one of " + ", ".join(choices))

    return check


def _only(allowed: object, hint: str) -> Check:
    def check(key: str, value: object) -> object:
        if value is not None and value != allowed:
            raise UnsupportedSchedulerConfigError(
                key, value, f"only supported as {allowed!r}", hint
            )
        return allowed

    return check


def _always(value: object) -> Check:
    """Ignore what a file says: the class has no such setting and behaves like ``value``."""
    return lambda _key, _value: value


def _whole_numbers(key: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, list | tuple):
        raise UnsupportedSchedulerConfigError(key, value, "a list of whole numbers")
    step = _whole(0, 1000)
    return tuple(cast("int", step(key, item)) for item in cast("Sequence[object]", value))


def _fixed_variance(key: str, value: object) -> str:
    if value in ("learned", "learned_range"):
        raise UnsupportedSchedulerConfigError(
            key, value, "a fixed variance", "Models that also predict a variance are not supported"
        )
    return ""


def _betas(key: str, value: object) -> tuple[float, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not value:
        raise UnsupportedSchedulerConfigError(key, value, "null or a list of numbers")
    return tuple(_number(key, beta) for beta in cast("Sequence[object]", value))


# --- settings that classes share ----------------------------------------------------------------

_NO_CLIPPING = (
    'Set "clip_sample": false in scheduler_config.json, as Stable Diffusion\'s own files do; '
    "a file without it takes the class's default, which may be true"
)
_FLOW = "Flow matching is not supported"
_beta_schedule = _one_of("linear", "scaled_linear", "squaredcos_cap_v2")
_prediction = _one_of("epsilon", "v_prediction", "sample", also={"original_sample": "sample"})
_spacing = _one_of("linspace", "leading", "trailing")

_TRAINING: Mapping[str, Setting] = {
    "num_train_timesteps": Setting(1000, _whole(1, 100_000)),
    "beta_start": Setting(0.0001, _number),
    "beta_end": Setting(0.02, _number),
    "beta_schedule": Setting("linear", _beta_schedule),
    "trained_betas": Setting(None, _betas),
    "prediction_type": Setting("epsilon", _prediction),
}
_ZERO_SNR = {"rescale_betas_zero_snr": Setting(False, _flag)}
_THRESHOLDING = {"thresholding": Setting(False, _only(False, "Latents are never thresholded"))}
_RESPACING = {
    "use_karras_sigmas": Setting(False, _flag),
    "use_exponential_sigmas": Setting(False, _flag),
    "use_beta_sigmas": Setting(False, _flag),
}
_FINAL_SIGMA = {"final_sigmas_type": Setting("zero", _one_of("zero", "sigma_min"))}
_NO_FLOW = {
    "use_flow_sigmas": Setting(False, _only(False, _FLOW)),
    "use_dynamic_shifting": Setting(False, _only(False, _FLOW)),
}


def _spaced(default: str) -> dict[str, Setting]:
    return {
        "timestep_spacing": Setting(default, _spacing),
        "steps_offset": Setting(0, _whole(-1000, 1000)),
    }


def _clipping(default: bool) -> dict[str, Setting]:
    return {"clip_sample": Setting(default, _only(False, _NO_CLIPPING))}


_SCALED_BETAS = {
    "beta_start": Setting(0.00085, _number),
    "beta_end": Setting(0.012, _number),
}
_DPM_SOLVER = {
    **_RESPACING,
    **_THRESHOLDING,
    **_FINAL_SIGMA,
    **_NO_FLOW,
    "solver_order": Setting(2, _whole(1, 3)),
    "algorithm_type": Setting(
        "dpmsolver++",
        _one_of("dpmsolver++", "sde-dpmsolver++", "dpmsolver", also={"deis": "dpmsolver++"}),
    ),
    "solver_type": Setting(
        "midpoint",
        _one_of("midpoint", "heun", also=dict.fromkeys(("logrho", "bh1", "bh2"), "midpoint")),
    ),
    "lambda_min_clipped": Setting(float("-inf"), _lambda_min),
    "variance_type": Setting(None, _fixed_variance),
}
_DISTILLED = {
    **_TRAINING,
    **_SCALED_BETAS,
    **_clipping(False),
    **_THRESHOLDING,
    **_ZERO_SNR,
    "beta_schedule": Setting("scaled_linear", _beta_schedule),
    "set_alpha_to_one": Setting(True, _flag),
    "original_inference_steps": Setting(50, _whole(1, 1000)),
    "timestep_scaling": Setting(10.0, _number),
}


# --- classes ------------------------------------------------------------------------------------

CLASS_SETTINGS: Mapping[str, Mapping[str, Setting]] = {
    "DDIMScheduler": {
        **_TRAINING,
        **_spaced("leading"),
        **_clipping(True),
        **_THRESHOLDING,
        **_ZERO_SNR,
        "set_alpha_to_one": Setting(True, _flag),
    },
    "PNDMScheduler": {
        **_TRAINING,
        **_spaced("leading"),
        "skip_prk_steps": Setting(
            False,
            _only(
                True, "Only the linear multistep form (PLMS) is supported; Stable Diffusion uses it"
            ),
        ),
        "set_alpha_to_one": Setting(False, _flag),
    },
    "LMSDiscreteScheduler": {**_TRAINING, **_spaced("linspace"), **_RESPACING},
    "EulerDiscreteScheduler": {
        **_TRAINING,
        **_spaced("linspace"),
        **_RESPACING,
        **_ZERO_SNR,
        **_FINAL_SIGMA,
        "interpolation_type": Setting("linear", _one_of("linear", "log_linear")),
        "timestep_type": Setting("discrete", _one_of("discrete", "continuous")),
        "sigma_min": Setting(None, _optional_number),
        "sigma_max": Setting(None, _optional_number),
    },
    "EulerAncestralDiscreteScheduler": {**_TRAINING, **_spaced("linspace"), **_ZERO_SNR},
    "HeunDiscreteScheduler": {
        **_TRAINING,
        **_SCALED_BETAS,
        **_spaced("linspace"),
        **_RESPACING,
        **_clipping(False),
    },
    "KDPM2DiscreteScheduler": {
        **_TRAINING,
        **_SCALED_BETAS,
        **_spaced("linspace"),
        **_RESPACING,
    },
    "KDPM2AncestralDiscreteScheduler": {
        **_TRAINING,
        **_SCALED_BETAS,
        **_spaced("linspace"),
        **_RESPACING,
    },
    "DPMSolverMultistepScheduler": {
        **_TRAINING,
        **_spaced("linspace"),
        **_DPM_SOLVER,
        **_ZERO_SNR,
        "use_lu_lambdas": Setting(False, _flag),
        "lower_order_final": Setting(True, _flag),
        "euler_at_final": Setting(False, _flag),
    },
    "DPMSolverSinglestepScheduler": {
        **_TRAINING,
        **_DPM_SOLVER,
        "lower_order_final": Setting(False, _flag),
    },
    "UniPCMultistepScheduler": {
        **_TRAINING,
        **_spaced("linspace"),
        **_RESPACING,
        **_THRESHOLDING,
        **_ZERO_SNR,
        **_FINAL_SIGMA,
        **_NO_FLOW,
        "solver_order": Setting(2, _whole(1, 3)),
        "solver_type": Setting(
            "bh2", _one_of("bh1", "bh2", also=dict.fromkeys(("midpoint", "heun", "logrho"), "bh2"))
        ),
        "predict_x0": Setting(True, _flag),
        "lower_order_final": Setting(True, _flag),
        "disable_corrector": Setting((), _whole_numbers),
        "solver_p": Setting(None, _only(None, "A predictor of another kind is not supported")),
        "sigma_min": Setting(None, _optional_number),
        "sigma_max": Setting(None, _optional_number),
    },
    "DEISMultistepScheduler": {
        **_TRAINING,
        **_spaced("linspace"),
        **_RESPACING,
        **_THRESHOLDING,
        **_NO_FLOW,
        "final_sigmas_type": Setting("sigma_min", _always("sigma_min")),  # it has no other
        "solver_order": Setting(2, _whole(1, 3)),
        "algorithm_type": Setting(
            "deis", _one_of("deis", also=dict.fromkeys(("dpmsolver", "dpmsolver++"), "deis"))
        ),
        "solver_type": Setting(
            "logrho",
            _one_of("logrho", also=dict.fromkeys(("midpoint", "heun", "bh1", "bh2"), "logrho")),
        ),
        "lower_order_final": Setting(True, _flag),
    },
    "DDPMScheduler": {
        **_TRAINING,
        **_spaced("leading"),
        **_clipping(True),
        **_THRESHOLDING,
        **_ZERO_SNR,
        "variance_type": Setting(
            "fixed_small", _one_of("fixed_small", "fixed_small_log", "fixed_large")
        ),
    },
    "LCMScheduler": _DISTILLED,
    "TCDScheduler": _DISTILLED,
}
