"""How a UNet is told its timesteps: one for each row, or one for all rows of a call."""

from __future__ import annotations

from collections.abc import Sequence

from sdopt.bundle.tensors import TensorSpec

TIMESTEP = "timestep"
PER_ROW = TensorSpec(TIMESTEP, "float32", ("batch",))


def has_timestep_per_row(inputs: Sequence[TensorSpec]) -> bool:
    """Say whether a network with these inputs takes a float32 timestep for each row, if any."""
    return all(_is_per_row(spec) for spec in inputs if spec.name == TIMESTEP)


def _is_per_row(spec: TensorSpec) -> bool:
    varies = len(spec.shape) == 1 and not isinstance(spec.shape[0], int)
    return varies and spec.dtype == PER_ROW.dtype
