"""Solvers that evaluate the model twice per step, but once in the last.

The even stages start a step and the odd ones finish it. Between them the state keeps where the step
began.
"""

from __future__ import annotations

import math

import numpy as np

from sdopt.runtime.schedulers.solvers.stage import Draw, Stage, State


def heun(stage: Stage, state: State, _draw: Draw) -> State:
    """Heun's method on dx/dσ = ε (Karras et al. 2022, algorithm 1)."""
    x, start, first_slope = state
    slope = stage.prediction.epsilon
    if stage.index % 2 == 0:
        return x + (stage.then.sigma - stage.now.sigma) * slope, x, slope
    step = stage.now.sigma - stage.recent(2)[1].sigma
    return start + step * (first_slope + slope) / 2, np.zeros_like(x), np.zeros_like(x)


def kdpm2(stage: Stage, state: State, _draw: Draw) -> State:
    """The midpoint method in log σ (Lu et al. 2022a, DPM-Solver-2, as in k-diffusion)."""
    x, start = state
    slope = stage.prediction.epsilon
    if stage.index % 2 == 0:
        return x + (stage.then.sigma - stage.now.sigma) * slope, x
    step = stage.then.sigma - stage.recent(2)[1].sigma
    return start + step * slope, np.zeros_like(x)


def kdpm2_ancestral(stage: Stage, state: State, draw: Draw) -> State:
    """The same past the target, and fresh noise back up to it (k-diffusion, ancestral steps)."""
    x, start = state
    slope = stage.prediction.epsilon
    if stage.index % 2 == 0:
        return x + (stage.then.sigma - stage.now.sigma) * slope, x
    before, then = stage.recent(2)[1].sigma, stage.then.sigma
    up = then * math.sqrt(before**2 - then**2) / before
    down = then**2 / before
    return start + (down - before) * slope + up * draw(), np.zeros_like(x)
