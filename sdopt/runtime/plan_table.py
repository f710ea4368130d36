"""A plan as the loop graphs read it: one row of float32 for each stage."""

from __future__ import annotations

import numpy as np

from sdopt.bundle.loop_graphs import COLUMNS, STAGES, STATE_ROWS
from sdopt.errors import InvalidValueError
from sdopt.runtime.ports import FloatArray
from sdopt.runtime.schedulers import Plan


def plan_table(plan: Plan, guidance_scale: float) -> FloatArray:
    """Write a plan in the columns of :data:`sdopt.bundle.loop_graphs.COLUMNS`.

    State rows that the plan does not have get zeros: they stay zero and add nothing.

    Args:
        plan: Of at most ``STATE_ROWS`` state rows and ``STAGES`` stages.
        guidance_scale: The same at every stage.

    Returns:
        (stages, WIDTH) float32, a new array.

    Raises:
        InvalidValueError: The plan is too large for the table.
    """
    for name, value, limit in (
        ("plan.state_rows", plan.state_rows, STATE_ROWS),
        ("plan.stages", plan.stages, STAGES),
    ):
        if value > limit:
            raise InvalidValueError(name, value, f"at most {limit} where a device runs the loop")
    parts = {
        "timestep": plan.timesteps,
        "guidance_scale": np.full(plan.stages, guidance_scale),
        "inputs": _padded(plan.inputs, plan.state_rows),
        "updates": _updates(plan),
        "denoised": _padded(plan.denoised, plan.state_rows),
        "renoise": plan.renoise,
    }
    columns = [parts[name].reshape(plan.stages, width) for name, width in COLUMNS.items()]
    return np.concatenate(columns, axis=1).astype(np.float32)


def _updates(plan: Plan) -> np.ndarray:
    """Return (stages, K_MAX + 2, K_MAX): for each thing that is added up, its share in each row."""
    rows = plan.state_rows
    wide = _padded(plan.updates, rows)
    tall = np.zeros((plan.stages, STATE_ROWS, STATE_ROWS + 2))
    tall[:, :rows] = wide
    return tall.transpose(0, 2, 1)


def _padded(weights: np.ndarray, rows: int) -> np.ndarray:
    """Put zeros for the missing state rows between the plan's own and what follows them."""
    missing = np.zeros((*weights.shape[:-1], STATE_ROWS - rows))
    return np.concatenate([weights[..., :rows], missing, weights[..., rows:]], axis=-1)
