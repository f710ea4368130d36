"""How fast this machine multiplies and copies, as the engine that is measured can use it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from sdopt.engines.catalog import open_engine
from sdopt.engines.cores import usable_cores
from sdopt.engines.options import EngineOptions, Model
from sdopt.errors import MissingDependencyError

_SIDES = (1024, 2048)
"""Of square matrices."""
_CHANNELS, _SIDE = 512, 64
"""Of a picture that is convolved."""
_KERNEL = 5
"""Its side. Of 3x3 our OpenVINO engine would do fewer operations than are counted."""
_CHAIN = 4
"""Products in one graph, so that its inputs and outputs cost little beside them."""
_REPEATS = 6
_COPIED_BYTES = 256 * 2**20
BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}
"""Of an element in each precision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineRates:
    """The machine's limits; the best of several tries, because a limit is what can be reached.

    Attributes:
        product_per_s: Multiplications and additions per second of large products of matrices or of
            5×5 convolutions, whichever are faster.
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
    graphs = [*(_matrices(side) for side in _SIDES), _convolutions()]
    rates = [_rate(engine, options, computed, chain) for chain in graphs]
    return MachineRates(product_per_s=max(rates), precision=computed, copy_bytes_per_s=_copy_rate())


@dataclass(frozen=True, slots=True)
class _Chain:
    """The same product again and again: each takes what the one before gave.

    Attributes:
        operator: ``"MatMul"`` or ``"Conv"``.
        shape: Of what goes in and comes out.
        weight: Shape of the weight.
        attributes: Of the operator.
        operations: Multiplications and additions of all of them.
    """

    operator: str
    shape: tuple[int, ...]
    weight: tuple[int, ...]
    attributes: Mapping[str, object]
    operations: int


def _matrices(side: int) -> _Chain:
    return _Chain("MatMul", (side, side), (side, side), {}, _CHAIN * 2 * side**3)


def _convolutions() -> _Chain:
    operations = _CHAIN * 2 * (_CHANNELS * _SIDE * _KERNEL) ** 2
    shape, weight = (1, _CHANNELS, _SIDE, _SIDE), (_CHANNELS, _CHANNELS, _KERNEL, _KERNEL)
    return _Chain("Conv", shape, weight, {"pads": [_KERNEL // 2] * 4}, operations)


def _rate(engine: str, options: EngineOptions, precision: str, chain: _Chain) -> float:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "chain.onnx"
        stored = "fp16" if precision == "fp16" else "fp32"
        _write_chain(path, chain, "float16" if stored == "fp16" else "float32")
        chosen = EngineOptions(device=options.device, precision=precision, threads=options.threads)
        opened = open_engine(engine, Model("chain", path, precision=stored), chosen)
        device = opened.device
        specs = (*opened.inputs, *opened.outputs)
        buffers = {spec.name: device.empty(chain.shape, spec.dtype) for spec in specs}
        for spec in opened.inputs:
            device.upload(np.ones(chain.shape, spec.dtype), buffers[spec.name])
        call = opened.bind(buffers)

        def run() -> None:
            call()
            device.synchronize()

        return chain.operations / _best(run)


def _write_chain(path: Path, chain: _Chain, dtype: str) -> None:
    try:
        from onnx import helper, numpy_helper, save
    except ImportError as error:
        raise MissingDependencyError("onnx", "bench") from error
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    taps = np.prod(chain.weight) / chain.weight[0]
    weight = np.random.default_rng(0).standard_normal(chain.weight) / np.sqrt(taps)
    names = ["before", *(f"product{index}" for index in range(1, _CHAIN)), "after"]
    nodes = [
        helper.make_node(chain.operator, [one, "weight"], [next_one], **chain.attributes)
        for one, next_one in pairwise(names)
    ]
    ends = [helper.make_tensor_value_info(name, kind, chain.shape) for name in ("before", "after")]
    weights = [numpy_helper.from_array(weight.astype(dtype), "weight")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    opsets = [helper.make_opsetid("", 18)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))


def _copy_rate() -> float:
    """Copy arrays that no cache holds; NumPy lets go of the interpreter's lock meanwhile."""
    threads = usable_cores()
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
