"""Reading scheduler_config.json as diffusers' ``from_config`` reads it, into one typed object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from sdopt.errors import UnsupportedSchedulerConfigError
from sdopt.runtime.schedulers.settings import CLASS_SETTINGS, SIGMA_SPACINGS

SigmaSpacing = Literal["", "karras", "exponential", "beta", "lu", "flow"]


@dataclass(frozen=True, kw_only=True)
class SchedulerConfig:
    """The settings of one diffusers scheduler class that change numbers.

    The names and meanings are diffusers'. A setting that the class does not have keeps the neutral
    value below; one that the class has and the file lacks takes the class's own default.
    """

    class_name: str
    num_train_timesteps: int = 1000
    beta_start: float = 0.0001
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    trained_betas: tuple[float, ...] | None = None
    rescale_betas_zero_snr: bool = False
    prediction_type: str = "epsilon"
    timestep_spacing: str = "linspace"
    timestep_type: str = "discrete"
    steps_offset: int = 0
    sigma_spacing: SigmaSpacing = ""
    sigma_min: float | None = None
    sigma_max: float | None = None
    flow_shift: float = 1.0
    interpolation_type: str = "linear"
    final_sigmas_type: str = "zero"
    set_alpha_to_one: bool = True
    solver_order: int = 1
    solver_type: str = ""
    algorithm_type: str = ""
    lower_order_final: bool = True
    euler_at_final: bool = False
    lambda_min_clipped: float = float("-inf")
    variance_type: str = ""
    predict_x0: bool = True
    disable_corrector: tuple[int, ...] = ()
    original_inference_steps: int = 50
    timestep_scaling: float = 10.0


def read_config(
    class_name: str, config: Mapping[str, object], forced: Mapping[str, object]
) -> SchedulerConfig:
    """Read the settings of ``class_name`` out of a scheduler_config.json.

    Keys that the class does not have are ignored (files in the wild carry many), keys that are
    missing or listed in ``_use_default_values`` take the class's default.

    Args:
        class_name: A diffusers scheduler class in ``CLASS_SETTINGS``.
        config: The contents of the file.
        forced: Settings that the scheduler's public name decides, over the file's.

    Raises:
        UnsupportedSchedulerConfigError: A known setting has a value that is not supported.
    """
    given = _given(config) | dict(forced)
    values: dict[str, Any] = {
        key: setting.check(key, given.get(key, setting.default))
        for key, setting in CLASS_SETTINGS[class_name].items()
    }
    values["sigma_spacing"] = _sigma_spacing(values)
    known = SchedulerConfig.__dataclass_fields__
    read = SchedulerConfig(
        class_name=class_name, **{key: value for key, value in values.items() if key in known}
    )
    _refuse_combinations(read)
    return read


def _given(config: Mapping[str, object]) -> dict[str, object]:
    listed = config.get("_use_default_values")
    defaulted = cast("Sequence[object]", listed) if isinstance(listed, list | tuple) else ()
    return {key: value for key, value in config.items() if key not in defaulted}


def _sigma_spacing(values: Mapping[str, object]) -> SigmaSpacing:
    chosen = [spacing for spacing, key in SIGMA_SPACINGS.items() if values.get(key)]
    if len(chosen) > 1:
        keys = " and ".join(SIGMA_SPACINGS[spacing] for spacing in chosen)
        raise UnsupportedSchedulerConfigError(
            keys, True, "at most one of them", "Set the others to false"
        )
    return cast("SigmaSpacing", chosen[0] if chosen else "")


def _refuse_combinations(config: SchedulerConfig) -> None:
    """Refuse settings that are fine one by one and give nonsense together."""
    to_zero = config.final_sigmas_type == "zero"
    betas = config.trained_betas
    if betas is not None and len(betas) != config.num_train_timesteps:
        raise UnsupportedSchedulerConfigError(
            "num_train_timesteps", config.num_train_timesteps, f"{len(betas)}, as trained_betas has"
        )
    if config.rescale_betas_zero_snr and config.prediction_type == "epsilon":
        raise UnsupportedSchedulerConfigError(
            "prediction_type",
            "epsilon",
            "v_prediction or sample where rescale_betas_zero_snr is true",
            "At zero signal-to-noise ratio the predicted noise says nothing about the picture",
        )
    if config.solver_type == "bh1" and to_zero:
        raise UnsupportedSchedulerConfigError(
            "solver_type",
            "bh1",
            'bh2 where final_sigmas_type is "zero"',
            "The last step of bh1 is infinite there",
        )
    if not config.predict_x0 and to_zero:
        raise UnsupportedSchedulerConfigError(
            "predict_x0",
            False,
            'true where final_sigmas_type is "zero"',
            "The last step in epsilon is infinite there",
        )
    unipc = config.class_name == "UniPCMultistepScheduler"
    if unipc and config.solver_order > 1 and not config.lower_order_final and to_zero:
        raise UnsupportedSchedulerConfigError(
            "lower_order_final",
            False,
            'true where final_sigmas_type is "zero"',
            "The last step is infinite there in any order above 1",
        )
    if config.algorithm_type == "dpmsolver" and to_zero:
        raise UnsupportedSchedulerConfigError(
            "final_sigmas_type",
            "zero",
            'sigma_min where algorithm_type is "dpmsolver"',
            'Set it, or set "algorithm_type": "dpmsolver++"',
        )
    _refuse_flow_combinations(config)
    if config.original_inference_steps > config.num_train_timesteps:
        raise UnsupportedSchedulerConfigError(
            "original_inference_steps",
            config.original_inference_steps,
            f"at most num_train_timesteps={config.num_train_timesteps}",
        )


def _refuse_flow_combinations(config: SchedulerConfig) -> None:
    """Refuse flow matching with settings that speak of another kind of noise."""
    flow = config.sigma_spacing == "flow"
    if flow != (config.prediction_type == "flow_prediction"):
        raise UnsupportedSchedulerConfigError(
            "prediction_type",
            config.prediction_type,
            f"{'' if flow else 'not '}flow_prediction where use_flow_sigmas is {str(flow).lower()}",
        )
    if flow and (config.algorithm_type == "dpmsolver" or not config.predict_x0):
        raise UnsupportedSchedulerConfigError(
            "prediction_type",
            "flow_prediction",
            "epsilon, v_prediction or sample for solvers that integrate epsilon",
            'Set "algorithm_type": "dpmsolver++", or "predict_x0": true',
        )
    repeats_last = config.class_name in ("DEISMultistepScheduler", "UniPCMultistepScheduler")
    if flow and config.final_sigmas_type == "sigma_min" and not repeats_last:
        raise UnsupportedSchedulerConfigError(
            "final_sigmas_type",
            "sigma_min",
            "zero where use_flow_sigmas is true",
            "The lowest sigma of the betas says nothing about flow matching",
        )
