"""The loop's arithmetic on the host, in NumPy: the reference, and the way of engines on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdopt.runtime.arithmetic import Outcome, There
from sdopt.runtime.clock import EngineClock
from sdopt.runtime.host_row import HostRow
from sdopt.runtime.layout import Layout
from sdopt.runtime.ports import Engine, FloatArray, Reading
from sdopt.runtime.row import Row
from sdopt.runtime.unet_batch import PROMPTS, LoopShapes, UnetBatch


class HostArithmetic:
    """Latents in NumPy arrays, one :class:`HostRow` for each row.

    See :class:`sdopt.runtime.arithmetic.Arithmetic`.
    """

    lag = 0

    def __init__(self, unet: Engine, shapes: LoopShapes, clock: EngineClock) -> None:
        """Allocate the UNet's arrays; the engine's device is the host."""
        self._unet, self._clock = UnetBatch(unet, shapes, _empty), clock
        self._shape, self._channels = shapes.latents, shapes.latents[0]
        self._rows: dict[Row, HostRow] = {}
        self._layout = Layout((), ())

    def admit(self, row: Row) -> None:
        """Draw what a row begins with."""
        self._rows[row] = HostRow(row.request, self._shape)

    def release(self, row: Row) -> None:
        """Forget a row."""
        del self._rows[row]

    def arrange(self, layout: Layout) -> None:
        """Write the prompts and all else that stays the same from step to step."""
        self._layout = layout
        for index, row, partner in layout:
            request = row.request
            self._unet.sample[index, self._channels :] = self._rows[row].unet_condition
            self._write_conditions(index, request.prompt_embeds, request.conditions)
            if partner is not None and (negative := request.negative_prompt_embeds) is not None:
                self._write_conditions(partner, negative, request.negative_conditions)

    def step(self, previews: Sequence[Row]) -> Outcome:
        """Run the UNet, and then each row's own arithmetic."""
        self._write_inputs()
        self._clock.run(self._unet.call(self._layout.batch))
        sums = np.empty(len(self._layout.rows), np.float32)
        shown: dict[Row, Reading] = {}
        output = self._unet.output
        for index, row, partner in self._layout:
            latents, stage = self._rows[row], row.stage
            latents.guide(output[index], None if partner is None else output[partner])
            if row in previews:
                shown[row] = There(latents.denoised(stage))
            latents.advance(stage)
            sums[index] = latents.latents_sum()
        places = {row: index for index, row in enumerate(self._layout.rows)}
        return Outcome(There(sums), places, shown)

    def latents(self, row: Row) -> Reading:
        """Copy a row's latents."""
        return There(self._rows[row].latents)

    def _write_conditions(
        self, index: int, embeds: FloatArray, conditions: Mapping[str, FloatArray]
    ) -> None:
        for name, buffer in self._unet.conditions.items():
            buffer[index] = embeds if name == PROMPTS else conditions[name]

    def _write_inputs(self) -> None:
        sample, timestep = self._unet.sample, self._unet.timestep
        for index, row, partner in self._layout:
            self._rows[row].write_sample(row.stage, sample[index, : self._channels])
            timestep[index] = row.request.plan.timesteps[row.stage]
            if partner is not None:
                sample[partner], timestep[partner] = sample[index], timestep[index]


def _empty(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    return np.empty(shape, dtype)
