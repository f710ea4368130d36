"""UniPC: a predictor and a corrector of one form (Zhao et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sdopt.runtime.schedulers.levels import Level
from sdopt.runtime.schedulers.plan import FloatArray
from sdopt.runtime.schedulers.solvers.stage import Draw, Stage, State


def unipc(stage: Stage, state: State, _draw: Draw) -> State:
    """UniPC of order 1 to 3 (Zhao et al. 2023, algorithms 5 to 8).

    Each evaluation first corrects the sample that it was made on, then predicts the next from the
    corrected one.
    """
    x, corrected, *past = state
    output = stage.prediction.x0 if stage.config.predict_x0 else stage.prediction.epsilon
    if stage.index > 0 and stage.position - 1 not in stage.config.disable_corrector:
        order = _order(stage, stage.index - 1)
        levels = [stage.now, *stage.recent(order + 1)[1:]]
        x = _update(stage, levels, corrected, past[:order], newest=output)
    outputs = [output, *past]
    order = _order(stage, stage.index)
    levels = [stage.then, *stage.recent(order)]
    return _update(stage, levels, x, outputs[:order]), x, *outputs[:-1]


def _order(stage: Stage, index: int) -> int:
    config, schedule = stage.config, stage.schedule
    left = schedule.full_steps - schedule.skipped - index
    return min(config.solver_order, index + 1, left if config.lower_order_final else 3)


def _update(
    stage: Stage,
    levels: Sequence[Level],
    x: FloatArray,
    outputs: Sequence[FloatArray],
    newest: FloatArray | None = None,
) -> FloatArray:
    """Move ``x`` from ``levels[1]`` to ``levels[0]`` (Zhao et al. 2023, equations 3 and 8).

    Args:
        stage: For the settings.
        levels: The target, then the level of every output.
        x: The sample at ``levels[1]``.
        outputs: The model's outputs, newest first.
        newest: The output at the target, which makes it a corrector.
    """
    then, now, *older = levels
    of_x0 = stage.config.predict_x0
    h = then.lam - now.lam
    if h == 0:
        return x
    z = -h if of_x0 else h
    ratios = [(level.lam - now.lam) / h for level in older]
    differences = [(y - outputs[0]) / r for y, r in zip(outputs[1:], ratios, strict=True)]
    if newest is not None:
        differences.append(newest - outputs[0])
    scale, keep = (then.alpha, then.s / now.s) if of_x0 else (then.s, then.alpha / now.alpha)
    x = keep * x - scale * math.expm1(z) * outputs[0]
    if not differences:
        return x
    weights = _weights(z, [*ratios, 1.0], len(differences), stage.config.solver_type)
    bend: FloatArray = np.tensordot(weights, np.stack(differences), axes=1)
    return x - scale * _b(z, stage.config.solver_type) * bend


def _weights(z: float, ratios: Sequence[float], count: int, kind: str) -> FloatArray:
    """Solve R ρ = b for the first ``count`` orders; a single weight is 1/2 by definition."""
    if count == 1:
        return np.array([0.5])
    points = np.array(ratios[:count])
    powers = points[None, :] ** np.arange(count)[:, None]
    phis = np.array(_phis(z, count))
    weights: FloatArray = np.linalg.solve(powers, phis / _b(z, kind)).astype(np.float64)
    return weights


def _phis(z: float, count: int) -> list[float]:
    """Return k! times φ_{k+1}(z) z, for k = 1 to ``count``, by the functions' recursion."""
    phi, values = math.expm1(z) / z - 1, list[float]()
    for k in range(1, count + 1):
        values.append(phi * math.factorial(k))
        phi = phi / z - 1 / math.factorial(k + 1)
    return values


def _b(z: float, kind: str) -> float:
    """Return the free function B(h) of Zhao et al. 2023: h for bh1, e^h - 1 for bh2."""
    return z if kind == "bh1" else math.expm1(z)
