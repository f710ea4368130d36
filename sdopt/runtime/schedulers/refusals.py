"""Whether a scheduler, with its configuration, can do what a request's options ask for."""

from __future__ import annotations

from collections.abc import Mapping

from sdopt.errors import InvalidValueError
from sdopt.runtime.schedulers.churn import Churn
from sdopt.runtime.schedulers.config import SchedulerConfig
from sdopt.runtime.schedulers.options import PlanOptions
from sdopt.runtime.schedulers.registry import SCHEDULERS
from sdopt.runtime.schedulers.settings import SIGMA_SPACINGS
from sdopt.runtime.schedulers.spec import SUFFIXES, Option, SchedulerSpec

_NEUTRAL: Mapping[Option, str] = {
    "eta": "0",
    "churn": "None",
    "timesteps": "None",
    "sigmas": "None",
}


def refuse_what_has_no_effect(spec: SchedulerSpec, options: PlanOptions) -> None:
    """Refuse an option that the scheduler would ignore.

    Raises:
        InvalidValueError: There is one; the message names the schedulers that it is for.
    """
    for name, neutral in _NEUTRAL.items():
        value = getattr(options, name)
        if value and name not in spec.honours:
            users = _listed([row.name for row in SCHEDULERS if name in row.honours])
            hint = f"It has an effect for {users} alone"
            if isinstance(value, Churn):  # callers say it number by number
                raise InvalidValueError("s_churn", value.s_churn, f"0 for {spec.name}", hint)
            raise InvalidValueError(name, value, f"{neutral} for {spec.name}", hint)


def refuse_contradictions(config: SchedulerConfig, options: PlanOptions) -> None:
    """Refuse timesteps or sigmas that the configuration cannot follow.

    Raises:
        InvalidValueError: The configuration spaces sigmas itself, knows no timesteps, or has fewer.
    """
    name = "sigmas" if options.sigmas is not None else "timesteps"
    value = getattr(options, name)
    if value is None:
        return
    if config.sigma_spacing:
        key = SIGMA_SPACINGS[config.sigma_spacing]
        named = config.sigma_spacing in SUFFIXES
        other = f"Choose a scheduler without _{config.sigma_spacing}, or s" if named else "S"
        hint = f'{other}et "{key}": false'
        raise InvalidValueError(name, value, f"None where {key} is true", hint)
    if name == "sigmas":
        return
    if config.timestep_type == "continuous" and config.prediction_type == "v_prediction":
        hint = "The model is told sigmas there: give those"
        raise InvalidValueError(name, value, 'None where timestep_type is "continuous"', hint)
    if value[0] >= config.num_train_timesteps:
        allowed = f"below num_train_timesteps={config.num_train_timesteps} of this checkpoint"
        raise InvalidValueError(name, value, allowed)


def _listed(names: list[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
