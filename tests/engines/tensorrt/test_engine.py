"""A TensorRT engine, on the simulated GPU: the contract, profiles, and what is refused."""

from __future__ import annotations

import gc
from types import ModuleType

import numpy as np
import pytest

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.reference import deviation, load_reference
from sdopt.engines.catalog import open_engine
from sdopt.engines.cuda.device import CudaDevice
from sdopt.engines.cuda.graph import GraphCall
from sdopt.engines.options import Batching, EngineOptions, Model
from sdopt.engines.row_parts import in_parts
from sdopt.engines.store import EngineStore
from sdopt.engines.tensorrt import TensorRtEngine
from sdopt.errors import EngineExecutionError, ProviderUnavailableError, ShapeOutOfProfileError

OUTPUTS = {"out_sample"}


@pytest.fixture(scope="module")
def unet(bundle: Bundle, built: EngineStore) -> TensorRtEngine:
    return TensorRtEngine(Model.of(bundle, "unet"), EngineOptions(device="cuda", store=built))


def inputs(rows: int, seed: int = 0, side: int = 12) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "sample": random.standard_normal((rows, 4, side, side), np.float32),
        "timestep": np.full(rows, 500, np.float32),
        "encoder_hidden_states": random.standard_normal((rows, 77, 128), np.float32),
    }


def bound(device: CudaDevice, engine: object, rows: int) -> tuple[object, dict[str, object]]:
    arrays = inputs(rows)
    buffers = {name: device.empty(a.shape, a.dtype.name) for name, a in arrays.items()}
    buffers["out_sample"] = device.empty(arrays["sample"].shape, "float32")
    return engine.bind(buffers), buffers  # type: ignore[attr-defined]


def expected(bundle: Bundle, arrays: dict[str, np.ndarray]) -> np.ndarray:
    onnxruntime = open_engine("onnxruntime", Model.of(bundle, "unet"))
    return onnxruntime.run(arrays)["out_sample"]


def test_specs_are_read_from_the_engine(unet: TensorRtEngine, device: CudaDevice) -> None:
    assert list(map(str, unet.inputs)) == [
        "sample: float32[?, 4, ?, ?]",
        "timestep: float32[?]",
        "encoder_hidden_states: float32[?, ?, 128]",
    ]
    assert list(map(str, unet.outputs)) == ["out_sample: float32[?, 4, ?, ?]"]
    assert (unet.name, unet.precision, unet.device) == ("unet", "fp32", device)


def test_a_bound_call_reads_and_writes_the_buffers_it_was_given(
    bundle: Bundle, unet: TensorRtEngine, device: CudaDevice
) -> None:
    call, buffers = bound(device, unet, 2)
    for seed in (1, 2):
        arrays = inputs(2, seed)
        for name, array in arrays.items():
            device.upload(array, buffers[name])  # type: ignore[arg-type]
        call()  # type: ignore[operator]
        found = device.read(buffers["out_sample"]).array()  # type: ignore[arg-type]
        assert np.array_equal(found, expected(bundle, arrays))


def test_as_a_graph_it_does_the_same(
    bundle: Bundle, unet: TensorRtEngine, device: CudaDevice
) -> None:
    call, buffers = bound(device, unet, 2)
    graph = device.capture(call)  # type: ignore[arg-type]
    assert isinstance(graph, GraphCall)
    arrays = inputs(2, 3)
    for name, array in arrays.items():
        device.upload(array, buffers[name])  # type: ignore[arg-type]
    del call
    gc.collect()
    graph()
    found = device.read(buffers["out_sample"]).array()  # type: ignore[arg-type]
    assert np.array_equal(found, expected(bundle, arrays))


def test_running_on_new_arrays_gives_every_output(bundle: Bundle, unet: TensorRtEngine) -> None:
    arrays = inputs(1)
    found = unet.run(arrays)
    assert found.keys() == OUTPUTS
    assert np.array_equal(found["out_sample"], expected(bundle, arrays))


def test_every_component_computes_what_torch_computes(bundle: Bundle, built: EngineStore) -> None:
    options = EngineOptions(device="cuda", store=built)
    for name, component in bundle.manifest.components.items():
        assert component.reference is not None
        (pair,) = load_reference(bundle.path / component.reference)
        found = TensorRtEngine(Model.of(bundle, name), options).run(pair.inputs)
        for output, reference in pair.outputs.items():
            assert deviation(found[output], reference)[0] < 1e-5


def test_outputs_that_nobody_wants_need_no_buffer(bundle: Bundle, built: EngineStore) -> None:
    """TensorRT writes every output; those without a buffer go where nothing else lies."""
    options = EngineOptions(device="cuda", store=built)
    encoder = TensorRtEngine(Model.of(bundle, "text_encoder"), options)
    arrays = {
        "input_ids": np.full((1, 77), 3, np.int64),
        "concept_embeds": np.zeros((1, 128), np.float32),
    }
    buffers = {n: encoder.device.empty(a.shape, a.dtype.name) for n, a in arrays.items()}
    for name, array in arrays.items():
        encoder.device.upload(array, buffers[name])
    buffers["pooler_output"] = encoder.device.empty((1, 128), "float32")
    encoder.bind(buffers)()
    found = encoder.device.read(buffers["pooler_output"]).array()
    assert np.array_equal(found, encoder.run(arrays)["pooler_output"])


def test_engines_share_their_scratch_memory(
    gpu: ModuleType, bundle: Bundle, built: EngineStore, device: CudaDevice
) -> None:
    options = EngineOptions(device="cuda", store=built)
    for name in ("unet", "vae_decoder"):
        TensorRtEngine(Model.of(bundle, name), options)
    assert device.scratch() is device.scratch()


def test_a_call_that_grew_older_than_its_scratch_memory_still_runs(
    bundle: Bundle, unet: TensorRtEngine, device: CudaDevice
) -> None:
    call, buffers = bound(device, unet, 1)
    arrays = inputs(1)
    for name, array in arrays.items():
        device.upload(array, buffers[name])  # type: ignore[arg-type]
    before = device.scratch()
    device.reserve_scratch(before.nbytes * 2)
    assert device.scratch().nbytes == before.nbytes * 2
    call()  # type: ignore[operator]
    found = device.read(buffers["out_sample"]).array()  # type: ignore[arg-type]
    assert np.array_equal(found, expected(bundle, arrays))


def test_a_size_outside_the_profile_names_the_command(bundle: Bundle, unet: TensorRtEngine) -> None:
    with pytest.raises(ShapeOutOfProfileError) as caught:
        unet.run(inputs(1, side=16))
    assert str(caught.value) == (
        "unet sample=(1, 4, 16, 16) is outside the engine's profile. It was built for "
        "(1 to 4)x4x12x12 or 1x4x9x11. Build it with that size, too: "
        f"sdopt build {bundle.path} --engine tensorrt --profile WIDTHxHEIGHT:N."
    )


def test_more_rows_than_the_profile_are_refused(unet: TensorRtEngine) -> None:
    with pytest.raises(ShapeOutOfProfileError, match=r"unet sample=\(5, 4, 12, 12\) is outside"):
        unet.run(inputs(5))


def test_the_largest_batch_of_a_size(unet: TensorRtEngine) -> None:
    shapes = {name: array.shape for name, array in inputs(1).items()}
    assert unet.largest_batch(shapes) == 4
    with pytest.raises(ShapeOutOfProfileError):
        unet.largest_batch({n: a.shape for n, a in inputs(1, side=20).items()})


def test_buffers_of_the_host_are_refused(unet: TensorRtEngine) -> None:
    with pytest.raises(EngineExecutionError) as caught:
        unet.bind({**inputs(1), "out_sample": np.zeros((1, 4, 12, 12), np.float32)})
    assert str(caught.value) == "Running unet failed. ndarray is no buffer of the GPU."


def test_an_output_of_another_shape_is_refused(unet: TensorRtEngine, device: CudaDevice) -> None:
    """TensorRT would write beyond it."""
    buffers = {n: device.empty(a.shape, a.dtype.name) for n, a in inputs(2).items()}
    with pytest.raises(EngineExecutionError) as caught:
        unet.bind(buffers | {"out_sample": device.empty((1, 4, 12, 12), "float32")})
    assert str(caught.value) == (
        "Running unet failed. The buffer for out_sample has shape (1, 4, 12, 12), and the output "
        "has (2, 4, 12, 12)."
    )


def test_a_buffer_at_an_odd_address_is_refused(unet: TensorRtEngine, device: CudaDevice) -> None:
    buffers = {n: device.empty(a.shape, a.dtype.name) for n, a in inputs(3).items()}
    with pytest.raises(EngineExecutionError) as caught:
        unet.bind({name: buffer[1:] for name, buffer in buffers.items()})
    assert str(caught.value).startswith("Running unet failed. timestep lies at ")
    assert str(caught.value).endswith("TensorRT takes multiples of 256.")


@pytest.mark.parametrize(
    ("rows", "batching"), [(1, "exact"), (4, "exact"), (6, "exact"), (2, "fast"), (5, "fast")]
)
def test_any_number_of_rows_is_computed_in_parts(
    bundle: Bundle, unet: TensorRtEngine, device: CudaDevice, rows: int, batching: Batching
) -> None:
    parts = in_parts(unet, batching, 8)
    call, buffers = bound(device, parts, rows)
    arrays = inputs(rows, 4)
    for name, array in arrays.items():
        device.upload(array, buffers[name])  # type: ignore[arg-type]
    call()  # type: ignore[operator]
    found = device.read(buffers["out_sample"]).array()  # type: ignore[arg-type]
    assert np.allclose(found, expected(bundle, arrays), atol=1e-5)
    assert np.array_equal(found, parts.run(arrays)["out_sample"])


def test_another_precision_is_refused(bundle: Bundle, built: EngineStore) -> None:
    options = EngineOptions(device="cuda", precision="fp16", store=built)
    with pytest.raises(ProviderUnavailableError) as caught:
        TensorRtEngine(Model.of(bundle, "unet"), options)
    assert str(caught.value) == (
        "'tensorrt in fp16' is not available here. Available: fp32. TensorRT computes as the "
        "bundle says: export it with --precision fp16."
    )


def test_another_device_is_refused(bundle: Bundle, built: EngineStore) -> None:
    with pytest.raises(ProviderUnavailableError) as caught:
        TensorRtEngine(Model.of(bundle, "unet"), EngineOptions(store=built))
    assert str(caught.value) == (
        "'tensorrt on cpu' is not available here. Available: cuda. TensorRT runs on NVIDIA's GPUs: "
        "--device cuda."
    )
