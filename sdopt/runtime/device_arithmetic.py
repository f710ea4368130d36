"""The loop's arithmetic on a device: the latents stay there, and the bundle's graphs compute.

A step is one launch: head, UNet, tail. Nothing in it waits for the host. What the host must know of
a step (is it finite, how does it look) is read behind it, while the next one runs, and the noise of
the next step is drawn and sent up meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdopt.runtime.arithmetic import Outcome
from sdopt.runtime.clock import EngineClock
from sdopt.runtime.layout import Layout
from sdopt.runtime.ports import Buffer, Call, Engine, FloatArray, Reading
from sdopt.runtime.row import Row
from sdopt.runtime.slots import Slots
from sdopt.runtime.unet_batch import LoopShapes, UnetBatch


@dataclass(frozen=True, slots=True)
class LoopGraphs:
    """The bundle's loop graphs, on the UNet's device. See :mod:`sdopt.bundle.loop_graphs`."""

    head: Engine
    tail: Engine


class DeviceArithmetic:
    """Latents in a device's buffers, a slot for each row.

    See :class:`sdopt.runtime.arithmetic.Arithmetic`.
    """

    lag = 1

    def __init__(
        self, unet: Engine, graphs: LoopGraphs, shapes: LoopShapes, clock: EngineClock
    ) -> None:
        """Allocate the buffers of the UNet and of every slot."""
        self._device, self._graphs, self._clock = unet.device, graphs, clock
        self._unet: UnetBatch[Buffer] = UnetBatch(unet, shapes, self._device.empty)
        self._slots = Slots(unet, self._unet, shapes)
        self._taken: dict[Row, int] = {}
        self._layout = Layout((), ())
        self._steps: dict[int, Call] = {}

    def admit(self, row: Row) -> None:
        """Draw what a row begins with, and send it up with its whole plan."""
        slot = min(set(range(self._slots.count)) - set(self._taken.values()))
        self._slots.fill(slot, row.request)
        self._taken[row] = slot

    def release(self, row: Row) -> None:
        """Give a row's slot away."""
        del self._taken[row]

    def arrange(self, layout: Layout) -> None:
        """Tell the graphs which slot has which UNet rows, and put the prompts there."""
        self._layout = layout
        self._slots.arrange(layout, self._taken)

    def step(self, previews: Sequence[Row]) -> Outcome:
        """Submit a step, and then what is read of it."""
        self._submit(self._layout.batch)
        tensors = self._slots.tensors
        outcome = Outcome(
            self._device.read(tensors["latents_sum"]),
            {row: self._taken[row] for row in self._layout.rows},
            {
                row: self._read("denoised", row, (0,))
                for row in self._layout.rows
                if row in previews
            },
        )
        self._draw_ahead()
        return outcome

    def latents(self, row: Row) -> Reading:
        """Read the first state row of a row's slot."""
        return self._read("state", row, (0, 0))

    def _submit(self, batch: int) -> None:
        """Run the step of a batch size: the first time as it is, then as it was captured."""
        step = self._steps.get(batch) or self._bind(batch)
        self._clock.submit(step, self._device)
        if batch not in self._steps:
            self._steps[batch] = self._device.capture(step)

    def _bind(self, batch: int) -> Call:
        tensors, unet = self._slots.tensors, self._unet.call(batch)
        both = {**tensors, "slot": tensors["slot"][:batch]}
        head = self._graphs.head.bind({
            **_named(self._graphs.head, both),
            "sample": self._unet.sample[:batch],
            "timestep": self._unet.timestep[:batch],
        })  # fmt: skip
        tail = self._graphs.tail.bind(
            {**_named(self._graphs.tail, both), "out_sample": self._unet.output[:batch]}
        )

        def step() -> None:
            head()
            unet()
            tail()
            self._device.copy(tensors["next_state"], tensors["state"])
            self._device.copy(tensors["next_cursor"], tensors["cursor"])

        return step

    def _draw_ahead(self) -> None:
        for row in self._layout.rows:
            stage = row.stage + 1
            if stage < row.stages and row.request.plan.noisy[stage]:
                self._slots.draw_noise(self._taken[row], row.request.noise)

    def _read(self, tensor: str, row: Row, place: tuple[int, ...]) -> Reading:
        slot = self._taken[row]
        return _Part(self._device.read(self._slots.tensors[tensor][slot : slot + 1]), place)


@dataclass(frozen=True, slots=True)
class _Part:
    """One element of a reading, along its first axes."""

    _whole: Reading
    _place: tuple[int, ...]

    def array(self) -> FloatArray:
        """Wait for the reading, and return a view of it."""
        part: NDArray[np.float32] = self._whole.array()[self._place]
        return part


def _named(engine: Engine, buffers: Mapping[str, Buffer]) -> dict[str, Buffer]:
    specs = (*engine.inputs, *engine.outputs)
    return {spec.name: buffers[spec.name] for spec in specs if spec.name in buffers}
