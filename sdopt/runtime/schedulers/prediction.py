"""From what the model answers to predicted x0 and epsilon, at one noise level."""

from __future__ import annotations

from typing import NamedTuple

from sdopt.runtime.schedulers.levels import Level
from sdopt.runtime.schedulers.plan import FloatArray


class Prediction(NamedTuple):
    """The two readings of one model output: ``sample = alpha * x0 + s * epsilon``."""

    x0: FloatArray
    epsilon: FloatArray


def predict(kind: str, sample: FloatArray, model_output: FloatArray, level: Level) -> Prediction:
    """Read a model output as predicted x0 and epsilon.

    Args:
        kind: ``epsilon``, ``v_prediction`` (Salimans and Ho 2022, appendix D), ``sample`` or
            ``flow_prediction``, which is epsilon - x0 (Lipman et al. 2023).
        sample: What the model saw, at unit variance, but for flow matching.
        model_output: What it answered.
        level: The noise level of ``sample``.
    """
    alpha, s = level.alpha, level.s
    if kind == "v_prediction":
        return Prediction(alpha * sample - s * model_output, s * sample + alpha * model_output)
    if kind == "flow_prediction":
        return Prediction(sample - s * model_output, sample + alpha * model_output)
    if kind == "sample":
        return Prediction(model_output, (sample - alpha * model_output) / s)
    return Prediction((sample - s * model_output) / alpha, model_output)
