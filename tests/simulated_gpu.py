"""Puts the packages of tests/simulated in the place of the real ones."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from sdopt.engines.cuda.device import shared_device
from sdopt.engines.tensorrt import api

SIMULATED = Path(__file__).parent / "simulated"
_REPLACED = ("tensorrt", "cuda")


@contextmanager
def simulated_gpu() -> Iterator[ModuleType]:
    """Simulate a GPU with TensorRT on it, here and in worker processes, which get the module path.

    Yields:
        The stand-in for CUDA's runtime.
    """
    before = {name: module for name, module in sys.modules.items() if _is_replaced(name)}
    for name in before:
        del sys.modules[name]
    sys.path.insert(0, str(SIMULATED))
    try:
        from cuda.bindings import runtime

        yield runtime
    finally:
        shared_device.cache_clear()
        api.log.cache_clear()
        gc.collect()  # what lies on the simulated GPU is freed there
        sys.path.remove(str(SIMULATED))
        for name in [name for name in sys.modules if _is_replaced(name)]:
            del sys.modules[name]
        sys.modules.update(before)


def _is_replaced(name: str) -> bool:
    return name.partition(".")[0] in _REPLACED
