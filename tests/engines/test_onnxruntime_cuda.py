"""ONNX Runtime on CUDA, as far as it can be tested without: what it is told, and no silent CPU."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.reference import deviation
from sdopt.engines.catalog import choose, footprint, open_engine
from sdopt.engines.cuda.device import CudaDevice, shared_device
from sdopt.engines.onnxruntime import targets as onnxruntime_targets
from sdopt.engines.onnxruntime.targets import OnCuda
from sdopt.engines.onnxruntime.tensorrt_provider import OnTensorRt
from sdopt.engines.options import EngineOptions, Model
from sdopt.engines.row_parts import MeasuredParts, in_parts
from sdopt.engines.store import EngineStore
from sdopt.errors import EngineExecutionError, ProviderUnavailableError

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@pytest.fixture
def claimed(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build of ONNX Runtime that says it has the provider, and then cannot load it."""
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [CUDA, CPU])


@pytest.fixture
def device(gpu: ModuleType) -> CudaDevice:
    return shared_device()


@pytest.fixture
def unet() -> Model:
    return Model.of(Bundle.open("shapes"), "unet")


@pytest.fixture
def options(tmp_path: Path) -> EngineOptions:
    return EngineOptions(device="cuda", store=EngineStore(tmp_path))


@pytest.fixture
def replaced(claimed: None, device: CudaDevice, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The CPU in CUDA's place, on the simulated GPU's memory, which is the host's."""
    kinds = []

    def places(self: OnCuda, name: str, buffers: object) -> object:
        found = real(self, name, buffers)  # type: ignore[arg-type]
        kinds.extend(place[0] for place in found.values())
        return {tensor: ("cpu", *place[1:]) for tensor, place in found.items()}

    real = OnCuda.places
    monkeypatch.setattr(onnxruntime_targets.OnCuda, "provider", CPU)
    monkeypatch.setattr(onnxruntime_targets.OnCuda, "places", places)
    init = OnCuda.__init__

    def without_options(self: OnCuda) -> None:
        init(self)
        self.options = {}

    monkeypatch.setattr(onnxruntime_targets.OnCuda, "__init__", without_options)
    return kinds


def test_a_provider_that_cannot_be_loaded_is_an_error(claimed: None, unet: Model) -> None:
    """ONNX Runtime itself goes on with the CPU."""
    with pytest.raises(ProviderUnavailableError) as caught:
        open_engine("onnxruntime", unet, EngineOptions(device="cuda"))
    assert str(caught.value) == (
        "'onnxruntime on cuda' is not available here. Available: CPUExecutionProvider. "
        "CUDAExecutionProvider could not be loaded. It needs CUDA and cuDNN of the versions that "
        "this build of ONNX Runtime was made for: pip install 'onnxruntime-gpu[cuda,cudnn]'."
    )


def test_no_gpu_is_an_error(
    claimed: None, gpu: ModuleType, unet: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu._gpu, "count", 0)
    with pytest.raises(ProviderUnavailableError, match="CUDA needs an NVIDIA GPU"):
        open_engine("onnxruntime", unet, EngineOptions(device="cuda"))


def test_what_the_provider_is_told(device: CudaDevice) -> None:
    assert OnCuda().options == {
        "device_id": "0",
        "user_compute_stream": str(device.stream),
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": "0",
    }
    assert OnCuda().run_config == {"disable_synchronize_execution_providers": "1"}


def test_buffers_are_bound_where_they_lie(device: CudaDevice) -> None:
    buffer = device.empty((2, 3), "float16")
    assert OnCuda().places("unet", {"x": buffer}) == {
        "x": ("cuda", 0, np.float16, (2, 3), buffer.address)
    }


def test_arrays_of_the_host_are_refused(device: CudaDevice) -> None:
    with pytest.raises(EngineExecutionError) as caught:
        OnCuda().places("unet", {"x": np.zeros(3)})
    assert str(caught.value) == "Running unet failed. ndarray is no buffer of the GPU."


def test_a_call_on_buffers_of_the_gpu(
    replaced: list[str], device: CudaDevice, unet: Model, options: EngineOptions
) -> None:
    """With fused attention, of which ONNX Runtime has a kernel for the CPU, too."""
    engine = open_engine("onnxruntime", unet, options)
    assert engine.device is device
    random = np.random.default_rng(0)
    arrays = {
        "sample": random.standard_normal((1, 4, 12, 12), np.float32),
        "timestep": np.full(1, 500, np.float32),
        "encoder_hidden_states": random.standard_normal((1, 77, 128), np.float32),
    }
    buffers = {name: device.empty(a.shape, a.dtype.name) for name, a in arrays.items()}
    for name, array in arrays.items():
        device.upload(array, buffers[name])
    buffers["out_sample"] = device.empty((1, 4, 12, 12), "float32")
    call = engine.bind(buffers)
    device.synchronize()  # the CPU in CUDA's place knows nothing of streams
    call()
    expected = open_engine("onnxruntime", unet).run(arrays)["out_sample"]
    found = device.read(buffers["out_sample"]).array()
    assert max(deviation(found, expected)) < 1e-5
    assert set(replaced) == {"cuda"}


def test_exact_batching_fills_up_rows(
    replaced: list[str], unet: Model, options: EngineOptions
) -> None:
    engine = open_engine("onnxruntime", unet, options)
    assert not isinstance(in_parts(engine, "exact", 8), MeasuredParts)
    assert isinstance(in_parts(engine, "fast", 8), MeasuredParts)
    host = open_engine("onnxruntime", unet)
    assert isinstance(in_parts(host, "exact", 8), MeasuredParts)


def test_auto_takes_it_where_nothing_was_built(claimed: None, tmp_path: Path) -> None:
    choice = choose("auto", "cuda")
    assert choice.engine == "onnxruntime"


def test_the_tensorrt_provider_keeps_its_engines_where_nobody_else_writes(
    device: CudaDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDOPT_CACHE", str(tmp_path))
    (own, second) = OnTensorRt().providers(Model("unet", Path("x"), "ab" * 32, "fp16"))
    folder = tmp_path / "onnxruntime-tensorrt" / f"unet-{'ab' * 10}"
    assert own == (
        "TensorrtExecutionProvider",
        {
            "device_id": "0",
            "user_compute_stream": str(device.stream),
            "trt_fp16_enable": "1",
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(folder),
        },
    )
    assert folder.stat().st_mode & 0o777 == 0o700
    assert second == (CUDA, OnCuda().options)


def test_the_tensorrt_provider_is_asked_for_by_name(claimed: None, unet: Model) -> None:
    """This build of ONNX Runtime claims CUDA alone."""
    with pytest.raises(ProviderUnavailableError) as caught:
        open_engine("onnxruntime-tensorrt", unet, EngineOptions(device="cuda"))
    assert str(caught.value) == (
        "'onnxruntime-tensorrt on cuda' is not available here. Available: none. "
        "Install a build of it for that device, or choose another device."
    )
    assert choose("auto", "cuda").engine == "onnxruntime"


def test_its_memory_is_not_estimated_on_the_gpu() -> None:
    assert footprint("onnxruntime", EngineOptions()) is not None
    assert footprint("onnxruntime", EngineOptions(device="cuda")) is None
