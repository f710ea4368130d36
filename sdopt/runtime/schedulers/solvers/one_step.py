"""Solvers that look at the current evaluation alone."""

from __future__ import annotations

import math

from sdopt.runtime.schedulers.levels import Level
from sdopt.runtime.schedulers.plan import FloatArray
from sdopt.runtime.schedulers.solvers.stage import Draw, Stage, State


def ddim(stage: Stage, _state: State, draw: Draw) -> State:
    """Denoising diffusion implicit models (Song et al. 2021, equations 12 and 16)."""
    now, then, eta = stage.now, stage.then, stage.options.eta
    x0, epsilon = stage.prediction
    spread = eta * then.s / now.s * math.sqrt(1 - (now.alpha / then.alpha) ** 2)
    x = then.alpha * x0 + math.sqrt(then.s**2 - spread**2) * epsilon
    return (x + spread * draw(),) if eta > 0 else (x,)


def ddpm(stage: Stage, state: State, draw: Draw) -> State:
    """Denoising diffusion probabilistic models (Ho et al. 2020, equations 6 and 7)."""
    (x,) = state
    now, then = stage.now, stage.then
    alpha = (now.alpha / then.alpha) ** 2
    beta = 1 - alpha
    x = (
        then.alpha * beta / now.s**2 * stage.prediction.x0
        + math.sqrt(alpha) * then.s**2 / now.s**2 * x
    )
    if stage.timestep == 0:
        return (x,)
    large = stage.config.variance_type == "fixed_large"
    variance = beta if large else max(then.s**2 / now.s**2 * beta, 1e-20)
    return (x + math.sqrt(variance) * draw(),)


def euler(stage: Stage, state: State, draw: Draw) -> State:
    """Euler's method on dx/dσ = ε (Karras et al. 2022, algorithm 2)."""
    (x,) = state
    churn = stage.options.churn
    share = churn.share(stage.now.sigma, stage.schedule.full_steps) if churn else 0.0
    if churn is None or share == 0:
        return (x + (stage.then.sigma - stage.now.sigma) * stage.prediction.epsilon,)
    raised = Level.from_sigma(stage.now.sigma * (1 + share))
    spread = math.sqrt(raised.sigma**2 - stage.now.sigma**2)
    return (_euler_from(stage, x + churn.s_noise * spread * draw(), raised),)


def _euler_from(stage: Stage, x: FloatArray, raised: Level) -> FloatArray:
    """Take Euler's step from a raised level with the output that the model gave below it.

    Algorithm 2 runs the model on the raised sample; diffusers, and so this, on the sample before.
    The output is read at the raised level, but a v output, as in diffusers, at its own.
    """
    read_at = stage.now if stage.config.prediction_type == "v_prediction" else raised
    x0 = stage.predict(read_at.alpha * x, stage.model_output, read_at).x0
    return x + (stage.then.sigma - raised.sigma) / raised.sigma * (x - x0)


def euler_ancestral(stage: Stage, state: State, draw: Draw) -> State:
    """Euler's method past the target, fresh noise back up to it (k-diffusion, ancestral steps)."""
    (x,) = state
    now, then = stage.now.sigma, stage.then.sigma
    up = then * math.sqrt(now**2 - then**2) / now
    down = then**2 / now
    return (x + (down - now) * stage.prediction.epsilon + up * draw(),)


def lcm(stage: Stage, state: State, draw: Draw) -> State:
    """Multistep consistency sampling (Luo et al. 2023, algorithm 3), data scale 0.5."""
    (x,) = state
    t = stage.timestep * stage.config.timestep_scaling
    skip, out = 0.5**2 / (t**2 + 0.5**2), t / math.hypot(t, 0.5)
    denoised = out * stage.prediction.x0 + skip * x
    if stage.is_last:
        return (denoised,)
    return (stage.then.alpha * denoised + stage.then.s * draw(),)


def tcd(stage: Stage, _state: State, draw: Draw) -> State:
    """Strategic stochastic sampling (Zheng et al. 2024, algorithm 4): down to s, noise up to t'."""
    then, via = stage.then, stage.schedule.detours[stage.index]
    x0, epsilon = stage.prediction
    x = via.alpha * x0 + via.s * epsilon
    if stage.options.eta == 0 or stage.is_last:
        return (x,)
    ratio = then.alpha / via.alpha
    return (ratio * x + math.sqrt(1 - ratio**2) * draw(),)
