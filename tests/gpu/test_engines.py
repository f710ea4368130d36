"""TensorRT and ONNX Runtime on a real GPU. Not run yet: see docs/tensorrt.md."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

import sdopt
from sdopt.bundle.bundle import Bundle
from sdopt.bundle.reference import deviation, load_reference
from sdopt.engines.catalog import open_engine
from sdopt.engines.contract import Call, Engine
from sdopt.engines.cuda.device import CudaDevice
from sdopt.engines.cuda.graph import GraphCall
from sdopt.engines.options import EngineOptions, Model
from sdopt.engines.row_parts import in_parts

pytestmark = pytest.mark.gpu
Arrays = dict[str, NDArray[np.generic]]
GpuEngine = tuple[str, EngineOptions]

TOLERANCE = 1e-3
"""Relative L2 in fp32 without TF32: sums in another order, and Winograd's convolutions."""


@pytest.fixture(scope="module")
def unet(bundle: Bundle, on_gpu: GpuEngine) -> Engine:
    return open_engine(on_gpu[0], Model.of(bundle, "unet"), on_gpu[1])


def inputs(rows: int, seed: int = 0) -> Arrays:
    random = np.random.default_rng(seed)
    return {
        "sample": random.standard_normal((rows, 4, 12, 12), np.float32),
        "timestep": np.linspace(20, 980, rows, dtype=np.float32),
        "encoder_hidden_states": random.standard_normal((rows, 77, 128), np.float32),
    }


def bound(device: CudaDevice, engine: Engine, arrays: Arrays) -> tuple[Call, object]:
    buffers = {name: device.empty(a.shape, a.dtype.name) for name, a in arrays.items()}
    for name, array in arrays.items():
        device.upload(array, buffers[name])
    buffers["out_sample"] = device.empty(arrays["sample"].shape, "float32")
    return engine.bind(buffers), buffers["out_sample"]


def computed(device: CudaDevice, engine: Engine, arrays: Arrays) -> NDArray[np.generic]:
    call, output = bound(device, engine, arrays)
    call()
    return device.read(output).array()  # type: ignore[arg-type]


def test_every_component_computes_what_torch_computes(bundle: Bundle, on_gpu: GpuEngine) -> None:
    for name, component in bundle.manifest.components.items():
        assert component.reference is not None
        engine = open_engine(on_gpu[0], Model.of(bundle, name), on_gpu[1])
        for pair in load_reference(bundle.path / component.reference):
            found = engine.run(pair.inputs)
            for output, reference in pair.outputs.items():
                assert deviation(found[output], reference)[0] < TOLERANCE, (name, output)


def test_the_unet_is_onnx_runtimes_on_the_cpu(
    bundle: Bundle, unet: Engine, device: CudaDevice
) -> None:
    arrays = inputs(2)
    expected = open_engine("onnxruntime", Model.of(bundle, "unet")).run(arrays)["out_sample"]
    assert deviation(computed(device, unet, arrays), expected)[0] < TOLERANCE


def test_a_graph_gives_the_same_bits(unet: Engine, device: CudaDevice) -> None:
    call, output = bound(device, unet, inputs(2))
    call()
    plain = device.read(output).array()  # type: ignore[arg-type]
    graph = device.capture(call)
    assert isinstance(graph, GraphCall), "nothing was recorded; the log says why"
    device.upload(np.zeros_like(plain), output)  # type: ignore[arg-type]
    for _ in range(3):
        graph()
    assert np.array_equal(device.read(output).array(), plain)  # type: ignore[arg-type]


def test_exact_batching_gives_each_row_the_same_bits_in_any_company(
    unet: Engine, device: CudaDevice
) -> None:
    """Row 0 alone, and with up to three others, at its own place and at another."""
    fixed = in_parts(unet, "exact", 4)
    arrays = inputs(4)
    alone = computed(device, fixed, {name: a[:1] for name, a in arrays.items()})
    for rows in (2, 3, 4):
        company = computed(device, fixed, {name: a[:rows] for name, a in arrays.items()})
        assert np.array_equal(company[:1], alone)
    turned = computed(device, fixed, {name: a[::-1].copy() for name, a in arrays.items()})
    assert np.array_equal(turned[-1:], alone)


@pytest.mark.parametrize("batching", ["exact", "fast"])
def test_the_picture_is_the_cpus(bundle: Bundle, on_gpu: GpuEngine, batching: str) -> None:
    from dataclasses import replace

    from sdopt.pipeline import Pipeline
    from tests.gpu.conftest import PROMPT

    engine, options = on_gpu
    pipeline = Pipeline(bundle, engine=engine, options=replace(options, batching=batching))  # type: ignore[arg-type]
    request = {"num_inference_steps": 10, "seed": 0, "num_images_per_prompt": 2}
    ours = pipeline(PROMPT, **request).images  # type: ignore[arg-type]
    theirs = sdopt.load("shapes")(PROMPT, **request).images  # type: ignore[arg-type]
    for one, other in zip(ours, theirs, strict=True):
        assert np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).mean() < 1.0


def test_memory_stays_flat_over_1000_pictures(bundle: Bundle, on_gpu: GpuEngine) -> None:
    from sdopt.engines.cuda.runtime import free_bytes
    from sdopt.pipeline import Pipeline
    from tests.gpu.conftest import PROMPT

    pipeline = Pipeline(bundle, engine=on_gpu[0], options=on_gpu[1])
    for seed in range(20):
        pipeline(PROMPT, num_inference_steps=2, seed=seed)
    before = free_bytes()
    for seed in range(1000):
        pipeline(PROMPT, num_inference_steps=2, seed=seed)
    assert free_bytes() >= before - (1 << 20)
