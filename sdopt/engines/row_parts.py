"""A UNet whose batches are computed in parts: of one fixed size, or of those that are fastest."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np

from sdopt.bundle.tensors import TensorSpec
from sdopt.engines.contract import Array, Buffer, Call, Device, Engine
from sdopt.engines.options import Batching
from sdopt.engines.row_probe import same_as_alone
from sdopt.engines.step_times import StepTimes, measure_steps
from sdopt.engines.timestep_input import TIMESTEP, has_timestep_per_row

Shapes = Mapping[str, tuple[int, ...]]
Cut = Callable[[int, Shapes], Sequence[int]]
"""From a batch's rows and its shapes to how many rows each call has. The last may have too many."""


@runtime_checkable
class Meeting(Protocol):
    """An engine on the host in which the rows of a batch may change each other's last bits."""

    rows_meet: bool
    """Whether they may, as it was loaded."""


@runtime_checkable
class OneShape(Protocol):
    """An engine that may have been compiled for one number of rows."""

    rows: int | None
    """In every call; None where any number will do."""


@runtime_checkable
class Bounded(Protocol):
    """An engine that was built for up to so many rows."""

    def largest_batch(self, shapes: Shapes) -> int:
        """Return the largest number of rows, for inputs of these shapes but for the rows."""
        ...


def in_parts(unet: Engine, batching: Batching, rows: int) -> RowParts:
    """Return a UNet that takes any number of rows, whatever the engine takes.

    Exact batching lets nothing decide about a row's bits but the row and the settings. Backends on
    a GPU choose kernels by shape, and another kernel may give other last bits: so there each call
    has the same number of rows, and no stopwatch chooses it. On the host each row has the bits that
    it has by itself: where rows may meet, it is computed by itself, or in larger calls that were
    seen to give those bits.

    Args:
        unet: An engine.
        batching: Exact or fast.
        rows: How many rows there will be at most; an engine that was built for fewer gets them in
            parts.
    """
    if isinstance(unet, OneShape) and (always := unet.rows) is not None:
        return RowParts(unet, fixed(lambda _: always), always)
    if batching == "exact":
        if isinstance(unet, Bounded):
            return RowParts(unet, fixed(unet.largest_batch))
        if not unet.device.is_host:
            return RowParts(unet, fixed(lambda _: rows))
        if isinstance(unet, Meeting) and unet.rows_meet:
            return VerifiedParts(unet, lambda _: rows)
    return MeasuredParts(unet, unet.largest_batch if isinstance(unet, Bounded) else lambda _: rows)


def fixed(rows: Callable[[Shapes], int]) -> Cut:
    """Cut into calls of one size, the last filled up."""

    def cut(batch: int, shapes: Shapes) -> Sequence[int]:
        size = rows(shapes)
        return (size,) * -(-batch // size)

    return cut


class RowParts:
    """Runs another engine as often as a batch needs.

    With one number of rows for all calls, a row's bits depend on that row alone. Rows that nobody
    asked for are computed and thrown away. See :class:`sdopt.engines.contract.Engine`.
    """

    def __init__(self, engine: Engine, cut: Cut, always: int | None = None) -> None:
        """Wrap an engine.

        Args:
            engine: A UNet. Every tensor of it has the rows first; its timestep may be one for all.
            cut: Into calls that it can make.
            always: How many rows its tensors have, where it knows one number.
        """
        self._engine, self._cut = engine, cut
        self.name, self.precision = engine.name, engine.precision
        self.inputs, self.outputs = (
            tuple(_of_any_rows(spec) if spec.shape[:1] == (always,) else spec for spec in specs)
            for specs in (engine.inputs, engine.outputs)
        )
        self._of_all = set() if has_timestep_per_row(self.inputs) else {TIMESTEP}

    @property
    def device(self) -> Device:
        """The wrapped engine's."""
        return self._engine.device

    def bind(self, buffers: Mapping[str, Buffer]) -> Call:
        """Bind buffers once. See :meth:`sdopt.engines.contract.Engine.bind`."""
        shapes = {spec.name: buffers[spec.name].shape for spec in self.inputs}
        batch = self._batch(shapes)
        if (parts := tuple(self._cut(batch, shapes))) == (batch,):
            return self._engine.bind(buffers)
        firsts = [sum(parts[:index]) for index in range(len(parts))]
        return _Together(
            [
                self._part(buffers, first, min(held, batch - first), held)
                for first, held in zip(firsts, parts, strict=True)
            ]
        )

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once on new arrays. See :meth:`sdopt.engines.contract.Engine.run`."""
        shapes = {name: array.shape for name, array in inputs.items()}
        batch, first, found = self._batch(shapes), 0, []
        for held in self._cut(batch, shapes):
            part = {
                name: _filled_up(array[first : first + held], held)
                for name, array in inputs.items()
                if name not in self._of_all
            }
            found.append(self._engine.run({**inputs, **part}))
            first += held
        return {n: np.concatenate([part[n] for part in found])[:batch] for n in found[0]}

    def _batch(self, shapes: Shapes) -> int:
        return next(shapes[s.name][0] for s in self.inputs if s.name not in self._of_all)

    def _part(self, buffers: Mapping[str, Buffer], first: int, count: int, held: int) -> Call:
        """Bind some rows by way of buffers of their own.

        Rows in the middle of a buffer begin at addresses that a backend may not take.
        """
        device = self.device
        whole = {
            name: _zeros(device, (held, *buffer.shape[1:]), buffer.dtype)
            for name, buffer in buffers.items()
            if name not in self._of_all
        }
        inputs, outputs = [], []
        for spec in (*self.inputs, *self.outputs):
            if spec.name in whole:
                outside, inside = (
                    buffers[spec.name][first : first + count],
                    whole[spec.name][:count],
                )
                if spec in self.inputs:
                    inputs.append((outside, inside))
                else:
                    outputs.append((inside, outside))
        return _Copied(device, self._engine.bind({**buffers, **whole}), inputs, outputs)


class MeasuredParts(RowParts):
    """A UNet whose batches may be cut up as is fastest: that changes no bits, or they are free.

    Until a shape was measured, a batch is one call if the engine takes as many rows.
    """

    def __init__(self, engine: Engine, most: Callable[[Shapes], int]) -> None:
        """Wrap an engine.

        Args:
            engine: Every tensor of it has the rows first.
            most: From a batch's shapes to how many rows a call may have.
        """
        super().__init__(engine, self._measured)
        self._most = most
        self._times: dict[tuple[tuple[int, ...], ...], StepTimes] = {}

    def measure(self, row: Mapping[str, tuple[int, ...]], budget_s: float) -> StepTimes:
        """Time calls of different numbers of rows, and cut batches of this shape accordingly.

        What was bound before stays as it is.

        Args:
            row: The shape of one row of each input and of the output.
            budget_s: Seconds; see :func:`sdopt.engines.step_times.measure_steps`.

        Raises:
            EngineExecutionError: The UNet failed.
        """
        shapes = {spec.name: (1, *row[spec.name]) for spec in self.inputs}
        timer = _Timer(self._engine, row, most := self._most(shapes))
        times = measure_steps(timer, most, budget_s)
        self._times[self._key(shapes)] = times
        return times

    def _measured(self, batch: int, shapes: Shapes) -> Sequence[int]:
        most, times = self._most(shapes), self._times.get(self._key(shapes))
        if times is not None:
            return times.parts(batch, most)
        whole, rest = divmod(batch, most)
        return (*(most,) * whole, *((rest,) if rest else ()))

    def _key(self, shapes: Shapes) -> tuple[tuple[int, ...], ...]:
        return tuple(shapes[spec.name][1:] for spec in self.inputs)


class VerifiedParts(MeasuredParts):
    """A UNet whose rows may meet: each is computed by itself until larger calls were verified.

    Those that give every row the bits that it has by itself are used where they are faster.
    """

    def measure(self, row: Mapping[str, tuple[int, ...]], budget_s: float) -> StepTimes:
        """Time calls of different numbers of rows, and compare their bits with single rows'.

        See :meth:`MeasuredParts.measure`; comparing takes as much time again at most.

        Returns:
            The times of those numbers that give the same bits, one row among them.
        """
        times = super().measure(row, budget_s)
        same = same_as_alone(self._engine, row, times.seconds, budget_s)
        times = StepTimes({rows: times.seconds[rows] for rows in times.seconds if rows in same})
        self._times[self._key({name: (1, *shape) for name, shape in row.items()})] = times
        return times

    def _measured(self, batch: int, shapes: Shapes) -> Sequence[int]:
        times = self._times.get(self._key(shapes))
        if times is None:
            return (1,) * batch
        return times.parts(batch, most=batch if batch in times.seconds else 0)


class _Timer:
    """Times calls on buffers of its own, as the loop makes them: bound once, captured if it can."""

    def __init__(self, engine: Engine, row: Mapping[str, tuple[int, ...]], most: int) -> None:
        self._engine, self._device = engine, engine.device
        self._buffers = {
            spec.name: _zeros(self._device, (most, *row[spec.name]), np.dtype(spec.dtype))
            for spec in (*engine.inputs, *engine.outputs)
            if spec.name in row
        }
        self._calls: dict[int, Call] = {}

    def __call__(self, rows: int) -> float:
        call = self._calls.get(rows)
        if call is None:
            first = self._engine.bind({n: buffer[:rows] for n, buffer in self._buffers.items()})
            first()
            call = self._calls[rows] = self._device.capture(first)
        self._device.synchronize()
        begin = time.perf_counter()
        call()
        self._device.synchronize()
        return time.perf_counter() - begin


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


def _of_any_rows(spec: TensorSpec) -> TensorSpec:
    return replace(spec, shape=("batch", *spec.shape[1:]))


def _zeros(device: Device, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Buffer:
    """Return a buffer of zeros: rows that are thrown away shall not be NaN either."""
    buffer = device.empty(shape, dtype.name)
    device.upload(np.zeros(shape, dtype), buffer)
    return buffer


def _filled_up(array: Array, rows: int) -> Array:
    return np.concatenate([array, np.zeros((rows - len(array), *array.shape[1:]), array.dtype)])
