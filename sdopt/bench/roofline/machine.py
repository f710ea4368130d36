"""How fast this machine multiplies and copies, as the engine that is measured can use it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from sdopt.engines.catalog import open_engine
from sdopt.engines.options import EngineOptions, Model
from sdopt.errors import MissingDependencyError

_SIZES = (1024, 2048)
_REPEATS = 6
_COPIED_BYTES = 256 * 2**20
BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}
"""Of an element in each precision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineRates:
    """The machine's limits; the best of several tries, because a limit is what can be reached.

    Attributes:
        product_per_s: Multiplications and additions per second of a product of two large square
            matrices.
        precision: What that product was computed in.
        copy_bytes_per_s: Bytes read and written per second by copying from memory to memory, with
            one thread for each core.
    """

    product_per_s: float
    precision: str
    copy_bytes_per_s: float


def machine_rates(engine: str, options: EngineOptions, precision: str) -> MachineRates:
    """Measure the machine.

    Args:
        engine: Which backend multiplies.
        options: How it is told to.
        precision: What the bundle's components computed in. Products in integers are not measured:
            for those the rate is that of fp32.

    Raises:
        MissingDependencyError: onnx is not installed.
    """
    computed = precision if precision in ("fp32", "bf16", "fp16") else "fp32"
    rates = [_product_rate(engine, options, computed, size) for size in _SIZES]
    return MachineRates(product_per_s=max(rates), precision=computed, copy_bytes_per_s=_copy_rate())


def _product_rate(engine: str, options: EngineOptions, precision: str, size: int) -> float:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "product.onnx"
        stored = "fp16" if precision == "fp16" else "fp32"
        _write_product(path, size, "float16" if stored == "fp16" else "float32")
        chosen = EngineOptions(device=options.device, precision=precision, threads=options.threads)
        opened = open_engine(engine, Model("product", path, precision=stored), chosen)
        left = np.ones((size, size), opened.inputs[0].dtype)
        seconds = _best(lambda: opened.run({"left": left}))
    return 2 * size**3 / seconds


def _write_product(path: Path, size: int, dtype: str) -> None:
    try:
        from onnx import helper, numpy_helper, save
    except ImportError as error:
        raise MissingDependencyError("onnx", "bench") from error
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    right = np.random.default_rng(0).standard_normal((size, size)).astype(dtype)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["left", "right"], ["product"], "product")],
        "product",
        [helper.make_tensor_value_info("left", kind, [size, size])],
        [helper.make_tensor_value_info("product", kind, [size, size])],
        [numpy_helper.from_array(right, "right")],
    )
    opsets = [helper.make_opsetid("", 18)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))


def _copy_rate() -> float:
    """Copy arrays that no cache holds; NumPy lets go of the interpreter's lock meanwhile."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    count = _COPIED_BYTES // threads // 8
    pairs = [(np.ones(count), np.ones(count)) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        seconds = _best(lambda: list(pool.map(lambda pair: np.copyto(*pair), pairs)))
    return 2 * count * 8 * threads / seconds


def _best(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
