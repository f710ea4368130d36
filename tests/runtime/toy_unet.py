"""A UNet in five lines of NumPy, to test the loop with: rows never touch each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from sdopt.bundle.tensors import TensorSpec
from sdopt.runtime.ports import Array, Call

LATENTS = ("batch", 4, "latent_height", "latent_width")


class ToyUNet:
    """Answers each row with a smooth function of its own latents, timestep and prompt."""

    inputs = (
        TensorSpec("sample", "float32", LATENTS),
        TensorSpec("timestep", "float32", ("batch",)),
        TensorSpec("encoder_hidden_states", "float32", ("batch", "sequence", 8)),
    )
    outputs = (TensorSpec("out_sample", "float32", LATENTS),)

    def __init__(self, break_row: Callable[[float], bool] = lambda _: False) -> None:
        self.batches: list[int] = []
        self.bound: list[int] = []
        self._break_row = break_row

    def bind(self, buffers: Mapping[str, Array]) -> Call:
        sample, timestep = buffers["sample"], buffers["timestep"]
        prompts, out = buffers["encoder_hidden_states"], buffers["out_sample"]
        self.bound.append(len(sample))

        def call() -> None:
            self.batches.append(len(sample))
            for row in range(len(sample)):
                tone = prompts[row].mean() + 0.001 * timestep[row]
                out[row] = np.tanh(sample[row] * np.float32(0.5) + tone)
                if self._break_row(float(timestep[row])):
                    out[row, 0, 0, 0] = np.nan

        return call
