"""Noise levels: what a training schedule's betas say about signal and noise at each timestep."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sdopt.runtime.schedulers.config import SchedulerConfig
from sdopt.runtime.schedulers.plan import FloatArray


@dataclass(frozen=True, slots=True)
class Level:
    """One noise level. The noised sample there is ``alpha * x0 + s * epsilon``.

    Attributes:
        alpha: Signal scale, with alpha² + s² = 1, but for flow matching alpha + s = 1.
        s: Noise scale.
        sigma: s / alpha, the noise level of the variance-exploding convention.
    """

    alpha: float
    s: float
    sigma: float

    @property
    def lam(self) -> float:
        """λ = ln(alpha / s), half the log signal-to-noise ratio; infinite without noise."""
        return -math.log(self.sigma) if self.sigma > 0 else math.inf

    @staticmethod
    def from_sigma(sigma: float) -> Level:
        """Return the level with this noise-to-signal ratio."""
        alpha = 1 / math.sqrt(1 + sigma**2)
        return Level(alpha, sigma * alpha, sigma)

    @staticmethod
    def from_flow(s: float) -> Level:
        """Return the level of flow matching with this noise scale below 1; alpha + s = 1 there."""
        return Level(1 - s, s, s / (1 - s))

    @staticmethod
    def from_alpha_bar(alpha_bar: float) -> Level:
        """Return the level with this cumulative product ᾱ = alpha²."""
        alpha, s = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
        return Level(alpha, s, s / alpha if alpha > 0 else math.inf)


def alpha_bars(config: SchedulerConfig) -> FloatArray:
    """Return ᾱ for every training timestep, (num_train_timesteps,), dimensionless."""
    betas = _betas(config)
    bars: FloatArray = np.cumprod(1 - betas, dtype=np.float64)
    return _zero_terminal_snr(bars) if config.rescale_betas_zero_snr else bars


def training_sigmas(config: SchedulerConfig) -> FloatArray:
    """Return σ for every training timestep, (num_train_timesteps,), rising, dimensionless.

    With zero terminal SNR the last ᾱ is 2⁻²⁴ in place of 0, so that its σ is finite (4096).
    """
    bars = alpha_bars(config)
    if config.rescale_betas_zero_snr:
        bars[-1] = 2.0**-24
    return np.sqrt((1 - bars) / bars)


def _betas(config: SchedulerConfig) -> FloatArray:
    start, end, steps = config.beta_start, config.beta_end, config.num_train_timesteps
    if config.trained_betas is not None:
        return np.array(config.trained_betas)
    if config.beta_schedule == "scaled_linear":
        return np.linspace(math.sqrt(start), math.sqrt(end), steps) ** 2
    if config.beta_schedule == "squaredcos_cap_v2":
        return _cosine_betas(steps)
    return np.linspace(start, end, steps)


def _cosine_betas(steps: int) -> FloatArray:
    """Cosine schedule (Nichol and Dhariwal 2021, equation 17), each beta at most 0.999."""
    bars = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.minimum(1 - bars[1:] / bars[:-1], 0.999)


def _zero_terminal_snr(bars: FloatArray) -> FloatArray:
    """Move √ᾱ so that the last is 0 and the first stays (Lin et al. 2024, algorithm 1)."""
    roots = np.sqrt(bars)
    return ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
