"""An engine on a device, used as one on the host: arrays go there and back around each call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sdopt.engines.contract import Array, Buffer, Call, Device, Engine
from sdopt.engines.host import HOST, host_arrays


def on_host(engine: Engine) -> Engine:
    """Return an engine that is bound to NumPy arrays: itself, or one that copies them."""
    return engine if engine.device.is_host else Staged(engine)


class Staged:
    """Copies inputs to the device before each call and outputs back after it, and waits.

    For components that run once per request, and for the denoising loop of bundles without loop
    graphs. See :class:`sdopt.engines.contract.Engine`.

    Attributes:
        device: The host.
    """

    device = HOST

    def __init__(self, engine: Engine) -> None:
        self._engine, self.name, self.precision = engine, engine.name, engine.precision
        self.inputs, self.outputs = engine.inputs, engine.outputs

    def bind(self, buffers: Mapping[str, Buffer]) -> Call:
        """Bind arrays once. See :meth:`sdopt.engines.contract.Engine.bind`."""
        arrays, device = host_arrays(self.name, buffers), self._engine.device
        there = {name: device.empty(a.shape, a.dtype.name) for name, a in arrays.items()}
        return _StagedCall(
            device,
            self._engine.bind(there),
            [(arrays[s.name], there[s.name]) for s in self.inputs if s.name in arrays],
            [(arrays[s.name], there[s.name]) for s in self.outputs if s.name in arrays],
        )

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once on new arrays. See :meth:`sdopt.engines.contract.Engine.run`."""
        return self._engine.run(inputs)


_Pairs = Sequence[tuple[Array, Buffer]]


class _StagedCall:
    """Uploads, runs, downloads."""

    __slots__ = ("_call", "_device", "_inputs", "_outputs")

    def __init__(self, device: Device, call: Call, inputs: _Pairs, outputs: _Pairs) -> None:
        self._device, self._call, self._inputs, self._outputs = device, call, inputs, outputs

    def __call__(self) -> None:
        for array, buffer in self._inputs:
            self._device.upload(array, buffer)
        self._call()
        for array, buffer in self._outputs:
            self._device.download(buffer, array)
