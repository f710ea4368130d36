"""A UNet that knows one timestep per call, used as one that has a timestep for each row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sdopt.engines.contract import Array, Buffer, Call, Engine
from sdopt.engines.host import HOST, host_arrays
from sdopt.engines.staged import on_host
from sdopt.engines.timestep_input import PER_ROW, TIMESTEP


class RowTimesteps:
    """Calls such a UNet once where all rows are at one timestep, and row by row otherwise.

    `sdopt import` rewrites the graph instead, which serves rows at different steps in one call.
    See :class:`sdopt.engines.contract.Engine`.

    Attributes:
        device: The host, where timesteps are compared.
    """

    device = HOST

    def __init__(self, unet: Engine) -> None:
        self._unet, self.name, self.precision = on_host(unet), unet.name, unet.precision
        spec = next(spec for spec in unet.inputs if spec.name == TIMESTEP)
        self._dtype, self._shape = spec.dtype, tuple(1 for _ in spec.shape)
        self.inputs = tuple(PER_ROW if s.name == TIMESTEP else s for s in unet.inputs)
        self.outputs = unet.outputs

    def bind(self, buffers: Mapping[str, Buffer]) -> Call:
        """Bind buffers once. See :meth:`sdopt.engines.contract.Engine.bind`."""
        arrays = host_arrays(self.name, buffers)
        timesteps, inner = arrays[TIMESTEP], np.empty(self._shape, self._dtype)
        together = self._unet.bind({**arrays, TIMESTEP: inner})
        alone: list[Call] = []

        def call() -> None:
            if (timesteps == timesteps[0]).all():
                inner[...] = timesteps[0]
                together()
                return
            if not alone:
                alone.extend(self._rows(arrays, inner))
            for timestep, row in zip(timesteps, alone, strict=True):
                inner[...] = timestep
                row()

        return call

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run row by row on new arrays. See :meth:`sdopt.engines.contract.Engine.run`."""
        results = [
            self._unet.run({name: self._row(name, array, row) for name, array in inputs.items()})
            for row in range(len(inputs[TIMESTEP]))
        ]
        return {name: np.concatenate([r[name] for r in results]) for name in results[0]}

    def _rows(self, arrays: Mapping[str, Array], inner: Array) -> list[Call]:
        count = len(arrays[TIMESTEP])
        return [
            self._unet.bind(
                {n: inner if n == TIMESTEP else b[row : row + 1] for n, b in arrays.items()}
            )
            for row in range(count)
        ]

    def _row(self, name: str, array: Array, row: int) -> Array:
        if name == TIMESTEP:
            return np.full(self._shape, array[row], self._dtype)
        return array[row : row + 1]
