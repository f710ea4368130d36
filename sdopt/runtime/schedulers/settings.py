"""The settings that each diffusers scheduler class has: defaults, and the values that we accept.

The defaults are those of the classes' constructors in diffusers (a test compares them).
"""

from __future__ import annotations

from collections.abc import Mapping

from sdopt.runtime.schedulers.checks import (
    Setting,
    always,
    beta,
    betas,
    fixed_variance,
    flag,
    lambda_min,
    one_of,
    only,
    optional_positive,
    positive,
    whole,
    whole_numbers,
)

SIGMA_SPACINGS: Mapping[str, str] = {
    "karras": "use_karras_sigmas",
    "exponential": "use_exponential_sigmas",
    "beta": "use_beta_sigmas",
    "lu": "use_lu_lambdas",
    "flow": "use_flow_sigmas",
}
"""Ways to respace sigmas, and the setting that switches each on."""


# --- settings that classes share ----------------------------------------------------------------

_NO_CLIPPING = (
    'Set "clip_sample": false in scheduler_config.json, as Stable Diffusion\'s own files do'
)
_SHIFTING = "Only a fixed flow_shift is supported"
_beta_schedule = one_of("linear", "scaled_linear", "squaredcos_cap_v2")
_PREDICTIONS = ("epsilon", "v_prediction", "sample")
_prediction = one_of(*_PREDICTIONS, also={"original_sample": "sample"})
_prediction_or_flow = one_of(*_PREDICTIONS, "flow_prediction", also={"original_sample": "sample"})
_spacing = one_of("linspace", "leading", "trailing")

_TRAINING: Mapping[str, Setting] = {
    "num_train_timesteps": Setting(1000, whole(2, 100_000)),
    "beta_start": Setting(0.0001, beta),
    "beta_end": Setting(0.02, beta),
    "beta_schedule": Setting("linear", _beta_schedule),
    "trained_betas": Setting(None, betas),
    "prediction_type": Setting("epsilon", _prediction),
}
_ZERO_SNR = {"rescale_betas_zero_snr": Setting(False, flag)}
_THRESHOLDING = {"thresholding": Setting(False, only(False, "Latents are never thresholded"))}
_RESPACING = {
    "use_karras_sigmas": Setting(False, flag),
    "use_exponential_sigmas": Setting(False, flag),
    "use_beta_sigmas": Setting(False, flag),
    # Most classes lack these two, and yet diffusers reads them for all where the file has them.
    "sigma_min": Setting(None, optional_positive),
    "sigma_max": Setting(None, optional_positive),
}
_FINAL_SIGMA = {"final_sigmas_type": Setting("zero", one_of("zero", "sigma_min"))}
_FLOW: Mapping[str, Setting] = {
    "prediction_type": Setting("epsilon", _prediction_or_flow),
    "use_flow_sigmas": Setting(False, flag),
    "flow_shift": Setting(1.0, positive),
    "use_dynamic_shifting": Setting(False, only(False, _SHIFTING)),
}


def _spaced(default: str) -> dict[str, Setting]:
    return {
        "timestep_spacing": Setting(default, _spacing),
        "steps_offset": Setting(0, whole(0, 1000)),
    }


# DDIM's and DDPM's default in diffusers is true, which its Stable Diffusion pipelines put right to
# false when they are made: latents are never clipped. So a file that does not say means false.
_CLIPPING = {"clip_sample": Setting(False, only(False, _NO_CLIPPING))}


_SCALED_BETAS = {
    "beta_start": Setting(0.00085, beta),
    "beta_end": Setting(0.012, beta),
}
_DPM_SOLVER = {
    **_RESPACING,
    **_THRESHOLDING,
    **_FINAL_SIGMA,
    **_FLOW,
    "solver_order": Setting(2, whole(1, 3)),
    "algorithm_type": Setting(
        "dpmsolver++",
        one_of("dpmsolver++", "sde-dpmsolver++", "dpmsolver", also={"deis": "dpmsolver++"}),
    ),
    "solver_type": Setting(
        "midpoint",
        one_of("midpoint", "heun", also=dict.fromkeys(("logrho", "bh1", "bh2"), "midpoint")),
    ),
    "lambda_min_clipped": Setting(float("-inf"), lambda_min),
    "variance_type": Setting(None, fixed_variance),
}
_DISTILLED = {
    **_TRAINING,
    **_SCALED_BETAS,
    **_CLIPPING,
    **_THRESHOLDING,
    **_ZERO_SNR,
    "beta_schedule": Setting("scaled_linear", _beta_schedule),
    "set_alpha_to_one": Setting(True, flag),
    "original_inference_steps": Setting(50, whole(1, 1000)),
    "timestep_scaling": Setting(10.0, positive),
}


# --- classes ------------------------------------------------------------------------------------

CLASS_SETTINGS: Mapping[str, Mapping[str, Setting]] = {
    "DDIMScheduler": {
        **_TRAINING,
        **_spaced("leading"),
        **_CLIPPING,
        **_THRESHOLDING,
        **_ZERO_SNR,
        "set_alpha_to_one": Setting(True, flag),
    },
    "PNDMScheduler": {
        **_TRAINING,
        **_spaced("leading"),
        "skip_prk_steps": Setting(
            False,
            only(
                True, "Only the linear multistep form (PLMS) is supported; Stable Diffusion uses it"
            ),
        ),
        "set_alpha_to_one": Setting(False, flag),
    },
    "LMSDiscreteScheduler": {**_TRAINING, **_spaced("linspace"), **_RESPACING},
    "EulerDiscreteScheduler": {
        **_TRAINING,
        **_spaced("linspace"),
        **_RESPACING,
        **_ZERO_SNR,
        **_FINAL_SIGMA,
        "interpolation_type": Setting("linear", one_of("linear", "log_linear")),
        "timestep_type": Setting("discrete", one_of("discrete", "continuous")),
    },
    "EulerAncestralDiscreteScheduler": {**_TRAINING, **_spaced("linspace"), **_ZERO_SNR},
    "HeunDiscreteScheduler": {
        **_TRAINING,
        **_SCALED_BETAS,
        **_spaced("linspace"),
        **_RESPACING,
        **_CLIPPING,
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
        "use_lu_lambdas": Setting(False, flag),
        "lower_order_final": Setting(True, flag),
        "euler_at_final": Setting(False, flag),
    },
    "DPMSolverSinglestepScheduler": {
        **_TRAINING,
        **_DPM_SOLVER,
        "lower_order_final": Setting(False, flag),
    },
    "UniPCMultistepScheduler": {
        **_TRAINING,
        **_spaced("linspace"),
        **_RESPACING,
        **_THRESHOLDING,
        **_ZERO_SNR,
        **_FINAL_SIGMA,
        **_FLOW,
        "solver_order": Setting(2, whole(1, 3)),
        "solver_type": Setting(
            "bh2", one_of("bh1", "bh2", also=dict.fromkeys(("midpoint", "heun", "logrho"), "bh2"))
        ),
        "predict_x0": Setting(True, flag),
        "lower_order_final": Setting(True, flag),
        "disable_corrector": Setting((), whole_numbers),
        "shift_terminal": Setting(None, only(None, _SHIFTING)),
        "solver_p": Setting(None, only(None, "A predictor of another kind is not supported")),
    },
    "DEISMultistepScheduler": {
        **_TRAINING,
        **_spaced("linspace"),
        **_RESPACING,
        **_THRESHOLDING,
        **_FLOW,
        "final_sigmas_type": Setting("sigma_min", always("sigma_min")),  # it has no other
        "solver_order": Setting(2, whole(1, 3)),
        "algorithm_type": Setting(
            "deis", one_of("deis", also=dict.fromkeys(("dpmsolver", "dpmsolver++"), "deis"))
        ),
        "solver_type": Setting(
            "logrho",
            one_of("logrho", also=dict.fromkeys(("midpoint", "heun", "bh1", "bh2"), "logrho")),
        ),
        "lower_order_final": Setting(True, flag),
    },
    "DDPMScheduler": {
        **_TRAINING,
        **_spaced("leading"),
        **_CLIPPING,
        **_THRESHOLDING,
        **_ZERO_SNR,
        "variance_type": Setting(
            "fixed_small", one_of("fixed_small", "fixed_small_log", "fixed_large")
        ),
    },
    "LCMScheduler": _DISTILLED,
    "TCDScheduler": _DISTILLED,
}
