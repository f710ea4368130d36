"""Linear multistep solvers: they extrapolate from the outputs of earlier evaluations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sdopt.runtime.schedulers.plan import FloatArray
from sdopt.runtime.schedulers.solvers.stage import Draw, Stage, State


def pndm(stage: Stage, state: State, _draw: Draw) -> State:
    """Pseudo linear multistep, PLMS (Liu et al. 2022, equations 9 and 12).

    The first move is made twice: with the first output, then again from where it began with the
    mean of the outputs at both ends. Its starting point waits in the last slot of the history.
    """
    x, *past = state
    m = stage.model_output
    if stage.index == 0:
        return _transfer(stage, x, m), m, np.zeros_like(x), x
    if stage.index == 1:
        first, _, start = past
        return _transfer(stage, start, (m + first) / 2), first, np.zeros_like(x), np.zeros_like(x)
    weights = _ADAMS_BASHFORTH[min(stage.index, 4)]
    mean = _combine(weights, [m, *past])
    return _transfer(stage, x, mean), m, past[0], past[1]


def _transfer(stage: Stage, x: FloatArray, m: FloatArray) -> FloatArray:
    """Move along a constant model output (Liu et al. 2022, equation 9, which is DDIM's move)."""
    x0, epsilon = stage.predict(x, m, stage.now)
    return stage.then.alpha * x0 + stage.then.s * epsilon


_ADAMS_BASHFORTH = {
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


def lms(stage: Stage, state: State, _draw: Draw) -> State:
    """Adams-Bashforth of order 4 on uneven sigmas (k-diffusion, linear multistep)."""
    x, *past = state
    recent = stage.recent(min(stage.index + 1, 4))
    weights = _lagrange_integrals([level.sigma for level in recent], stage.then.sigma)
    slope = stage.prediction.epsilon
    return x + _combine(weights, [slope, *past]), slope, past[0], past[1]


def deis(stage: Stage, state: State, _draw: Draw) -> State:
    """Exponential integrator, ε extrapolated in ln σ (Zhang and Chen 2023, ρAB in log ρ)."""
    x, *past = state
    epsilon = stage.prediction.epsilon
    nodes = [math.log(level.sigma) for level in stage.recent(_deis_order(stage))]
    weights = _exponential_integrals(nodes, math.log(stage.then.sigma))
    x = stage.then.alpha * (x / stage.now.alpha + _combine(weights, [epsilon, *past]))
    return x, *[epsilon, *past][: len(past)]


def _deis_order(stage: Stage) -> int:
    config, full_steps = stage.config, stage.schedule.full_steps
    careful = config.lower_order_final and full_steps < 15
    left = full_steps - stage.position if careful else 3
    return min(config.solver_order, stage.index + 1, left)


def _combine(weights: Sequence[float], vectors: Sequence[FloatArray]) -> FloatArray:
    """Sum weight times vector; vectors beyond the weights are left out."""
    return sum((w * v for w, v in zip(weights, vectors, strict=False)), np.zeros_like(vectors[0]))


def _lagrange_integrals(nodes: Sequence[float], end: float) -> list[float]:
    """Integrate each Lagrange polynomial over ``nodes`` from the first node to ``end``.

    They are cubic at most, for which Gauss's rule with two points is exact.
    """
    middle, half = (nodes[0] + end) / 2, (end - nodes[0]) / 2
    points = (middle - half / math.sqrt(3), middle + half / math.sqrt(3))
    return [half * sum(_lagrange(nodes, j, point) for point in points) for j in range(len(nodes))]


def _lagrange(nodes: Sequence[float], j: int, point: float) -> float:
    others = [node for i, node in enumerate(nodes) if i != j]
    return math.prod((point - node) / (nodes[j] - node) for node in others)


def _exponential_integrals(nodes: Sequence[float], end: float) -> list[float]:
    """Integrate e^u times each Lagrange polynomial from the first node to ``end``."""
    weights: list[float] = []
    for node in nodes:
        others = [other for other in nodes if other is not node]
        area = _exponential_antiderivative(others, end)
        area -= _exponential_antiderivative(others, nodes[0])
        weights.append(area / math.prod(node - other for other in others))
    return weights


def _exponential_antiderivative(roots: Sequence[float], u: float) -> float:
    """Evaluate the antiderivative of e^u times the product of u - root, by parts."""
    product = math.exp(u) * math.prod(u - root for root in roots)
    return product - sum(
        _exponential_antiderivative([*roots[:i], *roots[i + 1 :]], u) for i in range(len(roots))
    )
