"""Whether a row has the same bits in a larger call as by itself, found out by trying."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from sdopt.bundle.tensors import TensorSpec
from sdopt.engines.contract import Array, Engine

_TIMESTEPS = 1000.0


def same_as_alone(
    engine: Engine,
    row: Mapping[str, tuple[int, ...]],
    sizes: Iterable[int],
    budget_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> set[int]:
    """Return the numbers of rows whose calls give each row the bits that it has by itself.

    Backends choose kernels by shape and not by values, so random values will do: of the thousands
    that a UNet returns for each row, some differ where another kernel adds up in another order.

    Args:
        engine: On the host; every tensor of it has the rows first.
        row: The shape of one row of each input.
        sizes: Numbers of rows to try, smaller ones first.
        budget_s: Seconds. A number is tried only if, by what a row took so far, it ends in time.
        clock: Seconds.
    """
    larger, begin = sorted({*sizes} - {1}), clock()
    most = max(larger, default=1)
    inputs = {spec.name: _values(spec, most, row[spec.name]) for spec in engine.inputs}

    def run(first: int, count: int) -> list[bytes]:
        part = {name: values[first : first + count] for name, values in inputs.items()}
        outputs = engine.run(part).values()
        return [b"".join(output[index].tobytes() for output in outputs) for index in range(count)]

    alone, rows_run, same = run(0, 1), 1, {1}
    for size in larger:
        more = size - len(alone)
        spent = clock() - begin
        if spent + spent / rows_run * (more + size) > budget_s:
            break
        alone += [bits for first in range(len(alone), size) for bits in run(first, 1)]
        rows_run += more + size
        if run(0, size) == alone:
            same.add(size)
    return same


def _values(spec: TensorSpec, rows: int, shape: tuple[int, ...]) -> Array:
    """Return random values: for inputs with one number per row timesteps."""
    rng = np.random.default_rng(0)
    if shape:
        return rng.standard_normal((rows, *shape)).astype(spec.dtype)
    return rng.uniform(0, _TIMESTEPS, rows).astype(spec.dtype)
