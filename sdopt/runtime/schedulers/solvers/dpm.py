"""DPM-Solver (Lu et al. 2022a) and DPM-Solver++ (Lu et al. 2022b), multistep and single-step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from sdopt.runtime.schedulers.config import SchedulerConfig
from sdopt.runtime.schedulers.levels import Level
from sdopt.runtime.schedulers.plan import FloatArray
from sdopt.runtime.schedulers.solvers.stage import Draw, Stage, State


def dpm_multistep(stage: Stage, state: State, draw: Draw) -> State:
    """Multistep solver of order 1 to 3 (Lu et al. 2022b, algorithm 2)."""
    x, *past = state
    move = _Move.between(stage.now, stage.then, stage.config.algorithm_type)
    outputs = [move.output(stage), *past]
    order = _multistep_order(stage)
    levels = stage.recent(order)
    x = move.keep * x + move.gain * outputs[0]
    if order == 2:
        x = x + _second_order_weight(move, stage.config) * _slope(levels, outputs, move.h)
    if order == 3:
        slope, curve = _slope_and_curve(levels, outputs, move.h)
        x = x + move.slope * slope + move.curve * curve
    return _with_noise(x, move, draw), *outputs[:-1]


def dpm_singlestep(stage: Stage, state: State, draw: Draw) -> State:
    """Single-step solver of order 1 to 3, stage by stage (Lu et al. 2022a, algorithms 1 and 2).

    A stage of order o starts again from where the last stage of order 1 started.
    """
    x, start, *past = state
    order = min(_singlestep_order(stage), stage.index + 1)
    start = x if order == 1 else start
    levels = stage.recent(order)
    move = _Move.between(levels[-1], stage.then, stage.config.algorithm_type)
    outputs = [move.output(stage), *past]
    base = outputs[order - 1]
    x = move.keep * start + move.gain * base
    if order == 2:
        slope = move.h / (levels[0].lam - levels[1].lam) * (outputs[0] - base)
        x = x + _second_order_weight(move, stage.config) * slope
    if order == 3:
        x = x + _third_order_term(levels, outputs, move, stage.config)
    return _with_noise(x, move, draw), start, *outputs[:-1]


class _Move(NamedTuple):
    """The exact move of the linear part between two levels, and weights of the model's derivatives.

    DPM-Solver++ integrates predicted x0 against e^{λ}, DPM-Solver predicted epsilon against e^{-λ};
    in z the two have the same weights. The SDE's are the ODE's with twice the z.

    Attributes:
        h: Step in λ = ln(α / s).
        keep: Factor of the latents.
        gain: Factor of the model's output.
        slope: Factor of h times its derivative in λ (φ₂ of Lu et al. 2022a).
        curve: Factor of h² times its second derivative (φ₃).
        spread: Factor of fresh noise; None where the solver draws none.
        of_x0: Whether the output is predicted x0, else epsilon.
    """

    h: float
    keep: float
    gain: float
    slope: float
    curve: float
    spread: float | None
    of_x0: bool

    @staticmethod
    def between(now: Level, then: Level, algorithm: str) -> _Move:
        """Return the move for ``dpmsolver``, ``dpmsolver++`` or ``sde-dpmsolver++``."""
        h, sde, of_x0 = then.lam - now.lam, algorithm.startswith("sde"), algorithm.endswith("++")
        z = (-1 if of_x0 else 1) * (2 if sde else 1) * h
        scale = then.alpha if of_x0 else then.s
        keep = then.s / now.s if of_x0 else then.alpha / now.alpha
        return _Move(
            h=h,
            keep=keep * (math.exp(-h) if sde else 1),
            gain=-scale * math.expm1(z),
            slope=scale * _slope_weight(z),
            curve=scale * _curve_weight(z, sde=sde),
            spread=then.s * math.sqrt(-math.expm1(-2 * h)) if sde else None,
            of_x0=of_x0,
        )

    def output(self, stage: Stage) -> FloatArray:
        """Return what the solver integrates."""
        return stage.prediction.x0 if self.of_x0 else stage.prediction.epsilon


def _slope_weight(z: float) -> float:
    return 1 - math.expm1(z) / z if z else 0.0


def _curve_weight(z: float, *, sde: bool) -> float:
    """Return 1/2 - (e^z - 1 - z) / z².

    For the SDE diffusers has -1/2 in place of 1/2. It is kept here so that pictures agree.
    """
    rest = (math.expm1(z) / z - 1) / z if z else 0.5
    return (-0.5 if sde else 0.5) - rest


def _with_noise(x: FloatArray, move: _Move, draw: Draw) -> FloatArray:
    return x if move.spread is None else x + move.spread * draw()


def _second_order_weight(move: _Move, config: SchedulerConfig) -> float:
    return move.gain / 2 if config.solver_type == "midpoint" else move.slope


# --- multistep ----------------------------------------------------------------------------------


def _multistep_order(stage: Stage) -> int:
    """Return the order of this step: what the history allows, and lower at the end of the run."""
    config, full_steps = stage.config, stage.schedule.full_steps
    left = full_steps - stage.position
    careful = config.lower_order_final and full_steps < 15
    if left == 1 and (config.euler_at_final or careful or config.final_sigmas_type == "zero"):
        return 1
    ceiling = 2 if left == 2 and careful else 3
    return min(config.solver_order, stage.index + 1, ceiling)


def _slope(levels: Sequence[Level], outputs: Sequence[FloatArray], h: float) -> FloatArray:
    """Return h times the derivative in λ from the last two outputs."""
    return h / (levels[0].lam - levels[1].lam) * (outputs[0] - outputs[1])


def _slope_and_curve(
    levels: Sequence[Level], outputs: Sequence[FloatArray], h: float
) -> tuple[FloatArray, FloatArray]:
    """Return h times the derivative and h² times the second one from the last three outputs."""
    h0, h1 = levels[0].lam - levels[1].lam, levels[1].lam - levels[2].lam
    newer = _slope(levels[:2], outputs[:2], h)
    bend = newer - _slope(levels[1:], outputs[1:], h)
    return newer + h0 / (h0 + h1) * bend, h / (h0 + h1) * bend


# --- single-step --------------------------------------------------------------------------------


def _singlestep_order(stage: Stage) -> int:
    """Return the order of this stage: 1, 2, ..., p over and over, and 1 at the end.

    With ``final_sigmas_type`` zero, or steps that p does not divide, diffusers switches
    ``lower_order_final`` on; a run that p divides then ends in 1, 2, ..., p - 1, 1.
    """
    config, full_steps = stage.config, stage.schedule.full_steps
    p, left = config.solver_order, full_steps - stage.position
    to_zero = config.final_sigmas_type == "zero"
    lowered = config.lower_order_final or to_zero or full_steps % p != 0
    if left == 1 and (to_zero or (lowered and full_steps % p == 0)):
        return 1
    return stage.position % p + 1


def _third_order_term(
    levels: Sequence[Level], outputs: Sequence[FloatArray], move: _Move, config: SchedulerConfig
) -> FloatArray:
    """Return the correction of DPM-Solver-3, from derivatives at the start of the step."""
    base = outputs[2]
    r0, r1 = ((level.lam - levels[2].lam) / move.h for level in levels[:2])
    late, early = (outputs[0] - base) / r0, (outputs[1] - base) / r1
    if config.solver_type == "midpoint":
        return move.slope * late
    slope = (r0 * early - r1 * late) / (r0 - r1)
    curve = 2 * (late - early) / (r0 - r1)
    return move.slope * slope + move.curve * curve
