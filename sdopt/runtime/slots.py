"""What lies on a device for the rows of a loop, a slot for each. Sent up once, at admission."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sdopt.bundle.loop_graphs import (
    STAGES,
    STATE_ROWS,
    UnetTensors,
    dimensions,
    head_tensors,
    tail_tensors,
)
from sdopt.bundle.tensors import TensorSpec
from sdopt.runtime.layout import Layout
from sdopt.runtime.noise import NoiseStream
from sdopt.runtime.plan_table import plan_table
from sdopt.runtime.ports import Array, Buffer, Engine, FloatArray
from sdopt.runtime.row import Row, RowRequest
from sdopt.runtime.row_start import RowStart, draw_start
from sdopt.runtime.unet_batch import PROMPTS, LoopShapes, UnetBatch

_NOT_PER_LOOP = ("sample", "timestep", "out_sample")


class Slots:
    """The buffers of the loop graphs, and the prompts of every row.

    Attributes:
        count: How many slots there are.
        tensors: The graphs' inputs and outputs by name, but those that are the UNet's.
    """

    def __init__(self, unet: Engine, batch: UnetBatch[Buffer], shapes: LoopShapes) -> None:
        """Allocate them. Slots without a row hold anything, and step nowhere."""
        self._device, self._batch, self._shape = unet.device, batch, shapes.latents
        self.count = shapes.max_rows
        known = UnetTensors.of(unet.inputs, unet.outputs, shapes.latents[0])
        sizes = dimensions(self.count, *shapes.latents[1:])
        specs = {s.name: s for side in (*head_tensors(known), *tail_tensors(known)) for s in side}
        self.tensors = {
            name: self._device.empty(_shape(spec, sizes), spec.dtype)
            for name, spec in specs.items()
            if name not in _NOT_PER_LOOP
        }
        self._stored = {
            name: self._device.empty(buffer.shape, buffer.dtype.name)
            for name, buffer in batch.conditions.items()
        }
        # Whatever lies in a slot without a row, the table must have an entry where it points.
        self._device.upload(np.zeros(self.count, np.int32), self.tensors["cursor"])

    def fill(self, slot: int, request: RowRequest) -> None:
        """Send up a row: its plan, what it begins with, and its prompts."""
        table = plan_table(request.plan, request.guidance_scale)
        start = draw_start(request, self._shape)
        first = slot * STAGES
        self._device.upload(table, self.tensors["coefficients"][first : first + len(table)])
        self._upload("cursor", slot, np.array(first, np.int32))
        state = np.zeros((STATE_ROWS, *self._shape), np.float32)
        state[0] = start.latents
        self._upload("state", slot, state)
        self._put_known(slot, start)
        if "condition" in self.tensors:
            self._upload("condition", slot, start.unet_condition)
        if request.plan.noisy[0]:
            self.draw_noise(slot, request.noise)
        else:
            # What a plan multiplies by zero must be finite.
            self._upload("noise", slot, np.zeros(self._shape, np.float32))
        self._store(slot, request.prompt_embeds, request.conditions)
        if (negative := request.negative_prompt_embeds) is not None:
            self._store(self.count + slot, negative, request.negative_conditions)

    def draw_noise(self, slot: int, noise: NoiseStream) -> None:
        """Send up the noise of a row's next noisy stage."""
        self._upload("noise", slot, noise.normal((1, *self._shape))[0])

    def arrange(self, layout: Layout, slots: Mapping[Row, int]) -> None:
        """Say which slot each UNet row belongs to and which slots step; copy the prompts there."""
        owners = np.zeros(layout.batch, np.int32)
        conditional, unconditional, active = np.zeros((3, self.count), np.int32)
        for index, row, partner in layout:
            slot = slots[row]
            active[slot] = 1
            conditional[slot], unconditional[slot] = index, index if partner is None else partner
            owners[index] = slot
            self._copy_conditions(slot, index)
            if partner is not None:
                owners[partner] = slot
                self._copy_conditions(self.count + slot, partner)
        self._device.upload(owners, self.tensors["slot"][: layout.batch])
        self._device.upload(conditional, self.tensors["conditional"])
        self._device.upload(unconditional, self.tensors["unconditional"])
        self._device.upload(active, self.tensors["active"])

    def _put_known(self, slot: int, start: RowStart) -> None:
        """Send up what is put back after every step: nothing, where nothing is known."""
        known, mask = np.zeros((2, *self._shape), np.float32), np.ones(self._shape[1:], np.float32)
        if start.known is not None:
            known[0], known[1] = start.known.latents, start.known.start_noise
            mask = start.known.mask
        self._upload("known", slot, known)
        self._upload("mask", slot, mask[None])

    def _store(self, place: int, embeds: FloatArray, conditions: Mapping[str, FloatArray]) -> None:
        for name, buffer in self._stored.items():
            values = embeds if name == PROMPTS else conditions[name]
            self._device.upload(values[None].astype(buffer.dtype), buffer[place : place + 1])

    def _copy_conditions(self, place: int, unet_row: int) -> None:
        for name, buffer in self._stored.items():
            target = self._batch.conditions[name][unet_row : unet_row + 1]
            self._device.copy(buffer[place : place + 1], target)

    def _upload(self, tensor: str, slot: int, values: Array) -> None:
        self._device.upload(values[None], self.tensors[tensor][slot : slot + 1])


def _shape(spec: TensorSpec, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(sizes[dim] if isinstance(dim, str) else dim for dim in spec.shape)
