"""A UNet in five lines of NumPy, to test the loop with: rows never touch each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from sdopt.bundle.tensors import TensorSpec
from sdopt.engines.host import HOST
from sdopt.runtime.ports import Array, Call

LATENTS = ("batch", 4, "latent_height", "latent_width")


class ToyUNet:
    """Answers each row with a smooth function of its own latents, timestep and prompt."""

    name = "unet"
    inputs = (
        TensorSpec("sample", "float32", LATENTS),
        TensorSpec("timestep", "float32", ("batch",)),
        TensorSpec("encoder_hidden_states", "float32", ("batch", "sequence", 8)),
    )
    outputs = (TensorSpec("out_sample", "float32", LATENTS),)

    device = HOST

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
                told = sample[row, 4:].sum(axis=0, dtype=np.float32)  # nothing, mostly
                out[row] = np.tanh(sample[row, :4] * np.float32(0.5) + tone + told)
                if self._break_row(float(timestep[row])):
                    out[row, 0, 0, 0] = np.nan

        return call
