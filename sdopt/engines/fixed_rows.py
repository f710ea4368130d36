"""A UNet that always computes the same number of rows, so that company changes no picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import numpy as np

from sdopt.engines.contract import Array, Buffer, Call, Device, Engine
from sdopt.engines.options import Batching

Shapes = Mapping[str, tuple[int, ...]]


@runtime_checkable
class Meeting(Protocol):
    """An engine on the host in which the rows of a batch may change each other's last bits."""

    rows_meet: bool
    """Whether they do, as it was loaded."""


@runtime_checkable
class Bounded(Protocol):
    """An engine that was built for up to so many rows."""

    def largest_batch(self, shapes: Shapes) -> int:
        """Return the largest number of rows, for inputs of these shapes but for the rows."""
        ...


def with_fixed_rows(unet: Engine, batching: Batching, rows: int) -> Engine:
    """Return a UNet that takes any number of rows, and in exact batching always computes as many.

    Args:
        unet: An engine. On the host rows seldom meet, and it is returned as it is; where they do,
            each is computed by itself.
        batching: Whether to fill up batches.
        rows: How many rows there will be at most; an engine that was built for fewer gets them in
            parts.
    """
    if isinstance(unet, Bounded):
        return FixedRows(unet, unet.largest_batch, pad=batching == "exact")
    if batching == "fast":
        return unet
    if unet.device.is_host:
        meeting = isinstance(unet, Meeting) and unet.rows_meet
        return FixedRows(unet, lambda _: 1) if meeting else unet
    return FixedRows(unet, lambda _: rows)


class FixedRows:
    """Runs another engine on a fixed number of rows, as often as a batch needs.

    Backends on a GPU choose kernels by shape, and another kernel may give other last bits. With one
    shape for all, a row's bits depend on that row alone. Rows that nobody asked for are computed
    and thrown away. See :class:`sdopt.engines.contract.Engine`.
    """

    def __init__(self, engine: Engine, rows: Callable[[Shapes], int], *, pad: bool = True) -> None:
        """Wrap an engine.

        Args:
            engine: Every tensor of it has the rows first.
            rows: From a batch's shapes to how many rows a call is to have.
            pad: Fill up what lacks to that number; otherwise it is the largest number only.
        """
        self._engine, self._rows, self._pad = engine, rows, pad
        self.name, self.precision = engine.name, engine.precision
        self.inputs, self.outputs = engine.inputs, engine.outputs

    @property
    def device(self) -> Device:
        """The wrapped engine's."""
        return self._engine.device

    def bind(self, buffers: Mapping[str, Buffer]) -> Call:
        """Bind buffers once. See :meth:`sdopt.engines.contract.Engine.bind`."""
        shapes = {spec.name: buffers[spec.name].shape for spec in self.inputs}
        batch, rows = self._batch(shapes), self._rows(shapes)
        if batch == rows or (batch < rows and not self._pad):
            return self._engine.bind(buffers)
        calls = [
            self._part(buffers, first, min(rows, batch - first), rows)
            for first in range(0, batch, rows)
        ]
        return _Together(calls)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once on new arrays. See :meth:`sdopt.engines.contract.Engine.run`."""
        shapes = {name: array.shape for name, array in inputs.items()}
        batch, rows = self._batch(shapes), self._rows(shapes)
        parts = []
        for first in range(0, batch, rows):
            count = min(rows, batch - first)
            part = {name: array[first : first + count] for name, array in inputs.items()}
            wanted = rows if self._pad else count
            found = self._engine.run({n: _filled_up(array, wanted) for n, array in part.items()})
            parts.append({name: array[:count] for name, array in found.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _batch(self, shapes: Shapes) -> int:
        return shapes[self.inputs[0].name][0]

    def _part(self, buffers: Mapping[str, Buffer], first: int, count: int, rows: int) -> Call:
        """Bind some rows by way of buffers of their own.

        Rows in the middle of a buffer begin at addresses that a backend may not take.
        """
        device, held = self.device, rows if self._pad else count
        whole = {n: _zeros(device, (held, *b.shape[1:]), b.dtype) for n, b in buffers.items()}
        inputs, outputs = [], []
        for spec in (*self.inputs, *self.outputs):
            if spec.name in buffers:
                outside, inside = (
                    buffers[spec.name][first : first + count],
                    whole[spec.name][:count],
                )
                if spec in self.inputs:
                    inputs.append((outside, inside))
                else:
                    outputs.append((inside, outside))
        return _Copied(device, self._engine.bind(whole), inputs, outputs)


class _Together:
    """Several calls, one after the other."""

    __slots__ = ("_calls",)

    def __init__(self, calls: list[Call]) -> None:
        self._calls = calls

    def __call__(self) -> None:
        for call in self._calls:
            call()


class _Copied:
    """A call with copies from buffers before and to buffers after it."""

    __slots__ = ("_after", "_before", "_call", "_device")

    def __init__(
        self,
        device: Device,
        call: Call,
        before: list[tuple[Buffer, Buffer]],
        after: list[tuple[Buffer, Buffer]],
    ) -> None:
        self._device, self._call, self._before, self._after = device, call, before, after

    def __call__(self) -> None:
        for source, target in self._before:
            self._device.copy(source, target)
        self._call()
        for source, target in self._after:
            self._device.copy(source, target)


def _zeros(device: Device, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Buffer:
    """Return a buffer of zeros: rows that are thrown away shall not be NaN either."""
    buffer = device.empty(shape, dtype.name)
    device.upload(np.zeros(shape, dtype), buffer)
    return buffer


def _filled_up(array: Array, rows: int) -> Array:
    return np.concatenate([array, np.zeros((rows - len(array), *array.shape[1:]), array.dtype)])
