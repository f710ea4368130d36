"""A device that is not the host and does nothing until someone waits: stricter than any GPU.

What is submitted is kept in a queue and written down. It happens, in order, when a reading is
asked for or everything is waited for. So whoever relies on something having happened, or changes an
array too early, gets other numbers than on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sdopt.bundle.tensors import TensorSpec


class FarBuffer:
    """Memory that NumPy cannot reach: no array, and no way to make one of it by accident."""

    def __init__(self, memory: np.ndarray) -> None:
        self.memory = memory
        self.shape, self.dtype, self.nbytes = memory.shape, memory.dtype, memory.nbytes

    def __getitem__(self, rows: slice) -> FarBuffer:
        assert isinstance(rows, slice)
        return FarBuffer(self.memory[rows])

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise AssertionError("the host read memory of the device")


class FarReading:
    def __init__(self, device: FarDevice, memory: np.ndarray) -> None:
        self._device, self._copy = device, np.empty_like(memory)
        self._waited = False
        self._position = device.submit("read", lambda: np.copyto(self._copy, memory))

    def array(self) -> np.ndarray:
        if not self._waited:
            self._device.log.append("wait")
            self._device.run_until(self._position)
            self._waited = True
        return self._copy


class FarDevice:
    """Writes down what is submitted to it, in ``log``, and does it late."""

    is_host = False

    def __init__(self) -> None:
        self.log: list[str] = []
        self._queue: list[Callable[[], None]] = []
        self._done = 0
        self._capturing = False

    def submit(self, what: str, action: Callable[[], None]) -> int:
        if self._capturing:
            assert what not in ("upload", "read"), f"{what} within a capture"
        self.log.append(what)
        self._queue.append(action)
        return self._done + len(self._queue)

    def run_until(self, position: int) -> None:
        while self._done < position:
            self._queue.pop(0)()
            self._done += 1

    def empty(self, shape: tuple[int, ...], dtype: str) -> FarBuffer:
        memory = np.empty(shape, dtype)
        memory.fill(np.nan if memory.dtype.kind == "f" else 2**20)
        return FarBuffer(memory)

    def upload(self, array: np.ndarray, buffer: FarBuffer) -> None:
        assert array.shape == buffer.shape
        kept = array.copy()
        self.submit("upload", lambda: np.copyto(buffer.memory, kept, casting="no"))

    def copy(self, source: FarBuffer, target: FarBuffer) -> None:
        assert source.shape == target.shape
        self.submit("copy", lambda: np.copyto(target.memory, source.memory, casting="no"))

    def download(self, buffer: FarBuffer, out: np.ndarray) -> None:
        self.log.append("download")
        self.synchronize()
        np.copyto(out, buffer.memory, casting="no")

    def read(self, buffer: FarBuffer) -> FarReading:
        return FarReading(self, buffer.memory)

    def synchronize(self) -> None:
        self.run_until(self._done + len(self._queue))

    def capture(self, call: Callable[[], None]) -> Callable[[], None]:
        """Record what the call submits without doing it, and replay that."""
        queue, log = self._queue, self.log
        self._queue, self.log, self._capturing = [], [], True
        try:
            call()
            recorded = self._queue
        finally:
            self._queue, self.log, self._capturing = queue, log, False
        self.log.append("capture")
        return lambda: void(self.submit("replay", lambda: [act() for act in recorded]))

    def mark(self) -> Any:
        raise AssertionError("nobody measures")


def void(_: object) -> None:
    """Return nothing."""


class FarEngine:
    """An engine of the host, as if it ran on a device."""

    def __init__(self, engine: Any, device: FarDevice, name: str = "") -> None:
        self._engine, self.device = engine, device
        self.name: str = name or engine.name
        self.precision: str = getattr(engine, "precision", "fp32")
        self.inputs: tuple[TensorSpec, ...] = engine.inputs
        self.outputs: tuple[TensorSpec, ...] = engine.outputs

    def bind(self, buffers: Mapping[str, FarBuffer]) -> Callable[[], None]:
        call = self._engine.bind({name: buffer.memory for name, buffer in buffers.items()})
        return lambda: void(self.device.submit(self.name, call))

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._engine.run(inputs)
