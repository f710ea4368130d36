"""What tests on a GPU need, or the reason why they are skipped. None of them has run yet."""

from __future__ import annotations

from pathlib import Path

import pytest

import sdopt
from sdopt.bundle.bundle import Bundle
from sdopt.engines.build_options import BuildOptions
from sdopt.engines.cuda.device import CudaDevice, shared_device
from sdopt.engines.options import EngineOptions
from sdopt.engines.size_bucket import SizeBucket
from sdopt.engines.store import EngineStore
from sdopt.errors import MissingDependencyError, ProviderUnavailableError

PROMPT = "a large red circle on a blue background"


@pytest.fixture(scope="session")
def device() -> CudaDevice:
    try:
        return shared_device()
    except (MissingDependencyError, ProviderUnavailableError) as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return Bundle.open("shapes")


@pytest.fixture(scope="session")
def tensorrt_options(device: CudaDevice, tmp_path_factory: pytest.TempPathFactory) -> EngineOptions:
    """A store with real engines of the carried model, for one and two pictures of 96x96."""
    pytest.importorskip("tensorrt", reason="needs sdopt[tensorrt]")
    pytest.importorskip("polygraphy", reason="needs sdopt[tensorrt]")
    store = EngineStore(tmp_path_factory.mktemp("engines"))
    sdopt.build("shapes", options=BuildOptions(profiles=(SizeBucket(96, 96, 1, 2),), store=store))
    return EngineOptions(device="cuda", store=store)


@pytest.fixture(scope="session")
def onnxruntime_options(device: CudaDevice) -> EngineOptions:
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("needs onnxruntime-gpu, which sdopt[gpu] brings")
    return EngineOptions(device="cuda")


@pytest.fixture(scope="session", params=["tensorrt", "onnxruntime"])
def on_gpu(request: pytest.FixtureRequest) -> tuple[str, EngineOptions]:
    """Each backend on the GPU, with the options that open it."""
    options: EngineOptions = request.getfixturevalue(f"{request.param}_options")
    return str(request.param), options


@pytest.fixture(scope="session")
def record_folder() -> Path:
    folder = Path(__file__).parents[2] / "out"
    folder.mkdir(exist_ok=True)
    return folder
