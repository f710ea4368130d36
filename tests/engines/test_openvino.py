"""OpenVINO: what it lowers and what it must not, and what it keeps in the store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.reference import deviation, load_reference
from sdopt.engines.catalog import stored_key
from sdopt.engines.contract import Array
from sdopt.engines.options import EngineOptions, Model
from sdopt.engines.store import EngineStore

openvino = pytest.importorskip("openvino", reason="needs sdopt[openvino]")

from sdopt.engines.openvino import OpenVinoEngine  # noqa: E402 - after the check for the package

HAS_BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
needs_bf16 = pytest.mark.skipif(not HAS_BF16, reason="this CPU has no bf16")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open("shapes")


@pytest.fixture(scope="module")
def unet_inputs(bundle: Bundle) -> dict[str, Array]:
    (pair, *_) = load_reference(bundle.path / bundle.component("unet").reference)
    return dict(pair.inputs)


def test_the_precision_is_bf16_where_the_cpu_has_it(bundle: Bundle) -> None:
    engine = OpenVinoEngine(Model.of(bundle, "text_encoder"))
    assert engine.precision == ("bf16" if HAS_BF16 else "fp32")


def test_fp32_on_request(bundle: Bundle, unet_inputs: dict[str, Array]) -> None:
    engine = OpenVinoEngine(Model.of(bundle, "unet"), EngineOptions(precision="fp32"))
    (pair, *_) = load_reference(bundle.path / bundle.component("unet").reference)
    out = engine.run(unet_inputs)["out_sample"]
    assert engine.precision == "fp32"
    assert deviation(out, pair.outputs["out_sample"])[0] < 1e-5


@needs_bf16
def test_neighbouring_timesteps_stay_apart_in_bf16(
    bundle: Bundle, unet_inputs: dict[str, Array]
) -> None:
    """In bf16 980 and 981 are the same number, and 982 is 984. They must not become one."""
    engine = OpenVinoEngine(Model.of(bundle, "unet"), EngineOptions(precision="bf16"))
    outputs = [
        engine.run(unet_inputs | {"timestep": np.full_like(unet_inputs["timestep"], timestep)})
        for timestep in (980, 981, 982, 984, 984.25)
    ]
    assert all(found.keys() == {"out_sample"} for found in outputs)
    assert len({found["out_sample"].tobytes() for found in outputs}) == 5


@needs_bf16
def test_what_is_computed_of_timesteps_is_fp32(
    bundle: Bundle, unet_inputs: dict[str, Array]
) -> None:
    """The sinusoids that feed the first product, against their definition in float64."""
    engine = OpenVinoEngine(Model.of(bundle, "unet"), EngineOptions(precision="bf16"))
    request = engine._compiled.create_infer_request()
    found = request.infer({**unet_inputs, "timestep": np.full_like(unet_inputs["timestep"], 981)})
    (embedding,) = [
        value for port, value in found.items() if port.get_any_name().startswith("sdopt.exact.")
    ]
    half = embedding.shape[1] // 2
    angles = 981.0 * np.exp(-np.log(10000.0) * np.arange(half) / half)
    expected = np.concatenate([np.cos(angles), np.sin(angles)])
    # An angle of 981 has float32 steps of 6e-5; bf16 would be wrong by up to 2.
    assert np.abs(embedding[0] - expected).max() < 2e-4


@pytest.mark.parametrize("component", ["text_encoder", "unet", "vae_encoder", "vae_decoder"])
def test_tensors_have_the_names_and_types_of_the_bundle(bundle: Bundle, component: str) -> None:
    """Compiled, and loaded from the store: OpenVINO adds names of its own to some tensors."""
    there = bundle.component(component)
    for _ in range(2):
        engine = OpenVinoEngine(Model.of(bundle, component))
        for ours, theirs in ((engine.inputs, there.inputs), (engine.outputs, there.outputs)):
            assert [(s.name, s.dtype) for s in ours] == [(s.name, s.dtype) for s in theirs]


def test_a_compiled_component_is_kept_and_computes_the_same(
    bundle: Bundle, unet_inputs: dict[str, Array], tmp_path: Path
) -> None:
    options = EngineOptions(store=EngineStore(tmp_path))
    model = Model.of(bundle, "unet")
    unstored = OpenVinoEngine(Model(model.name, model.path), options)
    assert not list(options.store.entries())
    first, second = OpenVinoEngine(model, options), OpenVinoEngine(model, options)
    (entry,) = options.store.entries()
    assert entry.sidecar is not None
    assert entry.sidecar.key == stored_key("openvino", model, options)
    results = [engine.run(unet_inputs)["out_sample"] for engine in (unstored, first, second)]
    assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()
    assert unstored.outputs == first.outputs == second.outputs


def test_precision_and_threads_are_part_of_the_key(bundle: Bundle) -> None:
    model = Model.of(bundle, "unet")
    options = [EngineOptions(precision="fp32", threads=count) for count in (3, 1)]
    keys = [stored_key("openvino", model, each) for each in options]
    assert keys[0] is not None
    assert keys[1] is not None
    assert keys[0].differences(keys[1]) == (
        "options.threads is '3', and the stored engine has '1'",
    )


def test_a_large_model_is_compiled_each_time(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdopt.engines.openvino.backend._LARGEST_BLOB_BYTES", 1000)
    options = EngineOptions(store=EngineStore(tmp_path))
    OpenVinoEngine(Model.of(bundle, "text_encoder"), options)
    assert stored_key("openvino", Model.of(bundle, "text_encoder"), options) is None
    assert not list(options.store.entries())


def test_a_blob_that_openvino_refuses_is_built_again(
    bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its hash is right, but it is not what this OpenVINO writes."""
    options = EngineOptions(store=EngineStore(tmp_path))
    model = Model.of(bundle, "text_encoder")
    key = stored_key("openvino", model, options)
    assert key is not None
    options.store.obtain(key, lambda path: path.write_bytes(b"0" * 4096))  # type: ignore[arg-type,return-value]
    assert OpenVinoEngine(model, options).outputs
    assert caplog.messages[0].startswith(
        f"Dropping the engine {key.name}: OpenVINO cannot load it: "
    )
    assert options.store.why(key) == ""


FORGOTTEN = """
import gc, sys
import numpy as np
from sdopt.bundle.bundle import Bundle
from sdopt.engines.openvino import OpenVinoEngine
from sdopt.engines.options import Model

engine = OpenVinoEngine(Model.of(Bundle.open("shapes"), "unet"))
def zeros(rows, specs):
    sizes = {"encoder_hidden_states": (77, 128), "timestep": ()}
    return {s.name: np.zeros((rows, *sizes.get(s.name, (4, 8, 8))), s.dtype) for s in specs}

for rows in (6, 2, 5, 1, 6, 2):
    engine.bind(zeros(rows, (*engine.inputs, *engine.outputs)))()
    gc.collect()
    for other in (2, 6, 3):
        engine.run(zeros(other, engine.inputs))
print("still here")
"""


def test_buffers_that_nobody_has_any_more_do_no_harm() -> None:
    """As when a loop of another size is let go of; OpenVINO once more reads what it was given."""
    done = subprocess.run(
        [sys.executable, "-c", FORGOTTEN], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "still here\n"), done.stderr
