"""Engines on the simulated GPU."""

from __future__ import annotations

from types import ModuleType

import pytest

import sdopt
from sdopt.bundle.bundle import Bundle
from sdopt.engines.build_options import BuildOptions
from sdopt.engines.cuda.device import CudaDevice, shared_device
from sdopt.engines.size_bucket import SizeBucket
from sdopt.engines.store import EngineStore
from tests.simulated_gpu import running_here


@pytest.fixture(scope="module")
def device(gpu: ModuleType) -> CudaDevice:
    return shared_device()


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open("shapes")


@pytest.fixture(scope="module")
def built(gpu: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> EngineStore:
    """A store with engines of the carried model: 96x96, one and two pictures at a time.

    The first module that asks for it builds them, in this process.
    """
    store = EngineStore(tmp_path_factory.getbasetemp() / "built")
    options = BuildOptions(profiles=(SizeBucket(96, 96, 1, 2),), store=store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sdopt.engines.tensorrt.build.running", running_here)
        sdopt.build("shapes", options=options)
    return store
