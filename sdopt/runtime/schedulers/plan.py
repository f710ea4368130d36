"""The compiled form of a scheduler: a table of numbers that a denoising loop follows."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plan:
    """What to do at every evaluation ("stage") of the model, as coefficients.

    The loop keeps ``state``, K arrays of latent shape: row 0 the latents in diffusers' own scale
    for this scheduler, the others the solver's history, zeros at the start. At stage ``i``::

        sample       = inputs[i] @ state                      what the model sees
        model_output = model(sample, timesteps[i])            after guidance
        x0           = denoised[i] @ [state; model_output]    for previews
        state        = updates[i] @ [state; model_output; noise]

    All arrays are float64, read-only and dimensionless.

    Attributes:
        name: Public name of the scheduler, such as ``dpmpp_2m_karras``.
        timesteps: (stages,) what the model is told.
        inputs: (stages, K).
        updates: (stages, K, K + 2).
        denoised: (stages, K + 1) predicted x0, in scaled-latent units.
        noisy: (stages,) bool, whether the stage draws fresh noise.
        start: (2,) factors of image and noise in the first latents.
        renoise: (stages, 2) the same at the level that stage i ends on; (1, 0) after the last one.
        sigmas: (stages + 1,) noise scale over signal scale, for plots and people; infinite at
            zero signal-to-noise ratio.
    """

    name: str
    timesteps: FloatArray
    inputs: FloatArray
    updates: FloatArray
    denoised: FloatArray
    noisy: NDArray[np.bool_]
    start: FloatArray
    renoise: FloatArray
    sigmas: FloatArray

    def __post_init__(self) -> None:
        """Freeze private copies of the arrays and check that their shapes agree."""
        for field in fields(self)[1:]:
            dtype = np.bool_ if field.name == "noisy" else np.float64
            array: NDArray[np.generic] = np.array(getattr(self, field.name), dtype=dtype)
            array.flags.writeable = False
            object.__setattr__(self, field.name, array)
        self._check_shapes()

    def _check_shapes(self) -> None:
        stages, rows = self.stages, self.state_rows
        expected: dict[str, tuple[int, ...]] = {
            "timesteps": (stages,),
            "inputs": (stages, rows),
            "updates": (stages, rows, rows + 2),
            "denoised": (stages, rows + 1),
            "noisy": (stages,),
            "start": (2,),
            "renoise": (stages, 2),
            "sigmas": (stages + 1,),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"Plan.{name} has shape {getattr(self, name).shape}, not {shape}.")

    @property
    def stages(self) -> int:
        """Number of model evaluations."""
        return self.inputs.shape[0]

    @property
    def state_rows(self) -> int:
        """K, the number of latent-shaped arrays that the loop keeps."""
        return self.inputs.shape[1]

    @property
    def noise_draws(self) -> int:
        """Number of stages that draw fresh noise."""
        return int(self.noisy.sum())

    @property
    def snr_db(self) -> FloatArray:
        """Signal-to-noise ratio α²/s² in dB, (stages + 1,); new, infinite where sigma is 0."""
        with np.errstate(divide="ignore"):
            decibels: FloatArray = -20 * np.log10(self.sigmas)
        return decibels

    def __repr__(self) -> str:
        """Say what the plan is without its numbers."""
        return (
            f"Plan({self.name!r}, stages={self.stages}, state_rows={self.state_rows}, "
            f"noise_draws={self.noise_draws})"
        )
