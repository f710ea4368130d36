"""Building engines: what is kept, what is said, and what goes wrong. The GPU is simulated."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import sdopt
from sdopt.bundle.bundle import Bundle
from sdopt.engines.build_options import BuildOptions
from sdopt.engines.built_engine import BuiltEngine
from sdopt.engines.catalog import choose
from sdopt.engines.cuda.runtime import Gpu
from sdopt.engines.options import EngineOptions, Model, components
from sdopt.engines.size_bucket import SizeBucket
from sdopt.engines.store import EngineStore
from sdopt.engines.tensorrt import TensorRtEngine, api
from sdopt.engines.tensorrt.backend import find, mismatch
from sdopt.engines.tensorrt.build import engine_key
from sdopt.engines.tensorrt.plan import UnloadablePlanError
from sdopt.engines.tensorrt.profiles import profiles
from sdopt.errors import (
    BuildMemoryError,
    EngineBuildError,
    EngineNotBuiltError,
    MissingDependencyError,
    OnnxFolderError,
    ProviderUnavailableError,
    SelfTestError,
    UnknownNameError,
)
from tests.simulated_gpu import SIMULATED, running_here

onnx = pytest.importorskip("onnx", reason="needs sdopt[export]")
pytest.importorskip("polygraphy", reason="needs the packages of sdopt[dev]")
GPU = Gpu("Simulated GPU", "9.0")
HERE = Path(__file__)


@pytest.fixture(autouse=True)
def simulated(gpu: ModuleType) -> ModuleType:
    return gpu


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build in this process."""
    monkeypatch.setattr("sdopt.engines.tensorrt.build.running", running_here)


in_this_process = pytest.mark.usefixtures("here")


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / "engines")


def build(store: EngineStore, component: str = "vae_decoder", **options: object) -> BuiltEngine:
    wanted = BuildOptions(store=store, **options)  # type: ignore[arg-type]
    (built,) = sdopt.build("shapes", options=wanted, components=[component])
    return built


def header(built: BuiltEngine) -> dict[str, object]:
    """Read what the simulated builder wrote into a plan."""
    plan = built.path.read_bytes().removeprefix(b"a simulated plan")
    size = int.from_bytes(plan[:8], "little")
    return json.loads(plan[8 : 8 + size])


def load(store: EngineStore, bundle: Bundle, component: str = "vae_decoder") -> TensorRtEngine:
    options = EngineOptions(device="cuda", store=store)
    return TensorRtEngine(Model.of(bundle, component), options)


def test_an_engine_is_built_once_in_a_process_without_torch(store: EngineStore) -> None:
    first, second = build(store), build(store)
    assert (first.was_built, second.was_built) == (True, False)
    assert first.path == second.path
    assert header(first)["heavy modules"] == []
    assert [test.profile for test in first.tests] == ["96x96", "the bundle's reference pair"]
    small = first.tests[1].relative_l2
    assert first.tests[0].relative_l2 is None
    assert small is not None
    assert small < 1e-5


@in_this_process
def test_what_an_engine_depends_on_is_in_its_key(store: EngineStore, bundle: Bundle) -> None:
    build(store, "unet", profiles=(SizeBucket(96, 64, 1, 2),), workspace_bytes=1 << 30)
    (entry,) = store.entries()
    assert entry.sidecar is not None
    key = entry.sidecar.key
    assert key.model_sha256 == bundle.component_sha256("unet")
    assert (key.component, key.engine, key.engine_version) == ("unet", "tensorrt", "11.4.0.106")
    assert (key.device, key.compute_capability) == ("Simulated GPU", "9.0")
    assert key.profile == "96x64:1-2"
    assert key.options == {
        "workspace": "1073741824 B",
        "optimization_level": "3",
        "self_test": "yes",
        "tf32": "no",
    }


@in_this_process
def test_one_engine_has_a_profile_for_each_bucket(store: EngineStore) -> None:
    buckets = (SizeBucket(96, 96, 1, 2), SizeBucket(128, 64))
    found = header(build(store, "unet", profiles=buckets))["profiles"]
    assert [profile["sample"] for profile in found] == [  # type: ignore[index]
        [[1, 4, 12, 12], [4, 4, 12, 12], [4, 4, 12, 12]],
        [[1, 4, 8, 16], [2, 4, 8, 16], [2, 4, 8, 16]],
        [[1, 4, 9, 11], [1, 4, 9, 11], [1, 4, 9, 11]],
    ]
    assert found[0]["encoder_hidden_states"] == [  # type: ignore[index]
        [1, 77, 128],
        [4, 77, 128],
        [4, 231, 128],
    ]


@in_this_process
def test_other_buckets_build_no_text_encoder_again(store: EngineStore) -> None:
    assert build(store, "text_encoder").was_built
    assert not build(store, "text_encoder", profiles=(SizeBucket(128, 128, 1, 4),)).was_built
    assert build(store, "vae_decoder", profiles=(SizeBucket(96, 96),)).was_built
    assert not build(store, "vae_decoder", profiles=(SizeBucket(96, 96, 1, 4),)).was_built


@in_this_process
def test_the_builder_is_told_what_was_asked_for(store: EngineStore) -> None:
    found = header(
        build(
            store,
            refit=True,
            version_compatible=True,
            weight_streaming=True,
            optimization_level=5,
        )
    )
    assert found["flags"] == ["REFIT", "VERSION_COMPATIBLE", "WEIGHT_STREAMING"]
    assert found["level"] == 5


@in_this_process
def test_measured_times_are_kept_for_the_next_build(store: EngineStore, tmp_path: Path) -> None:
    cache = tmp_path / "times" / "file.cache"
    first = build(store, "vae_decoder", timing_cache=cache)
    second = build(store, "vae_encoder", timing_cache=cache)
    assert (header(first)["cached"], header(second)["cached"]) == ("", "measured;")


@in_this_process
def test_measured_times_lie_in_a_file_for_each_gpu_and_version(
    store: EngineStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDOPT_CACHE", str(tmp_path))
    build(store)
    (cache,) = (tmp_path / "timing").glob("*.cache")
    assert cache.name == "Simulated-GPU-9.0-11.4.0.106.cache"


@in_this_process
def test_progress_only_grows(store: EngineStore) -> None:
    told: list[tuple[str, float]] = []
    sdopt.build(
        "shapes",
        options=BuildOptions(store=store),
        components=["vae_decoder", "vae_encoder"],
        progress=lambda stage, share: told.append((stage, share)),
    )
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert 0.4 < shares[len(shares) // 2] < 0.6
    assert told[0] == ("vae_decoder: Building Engine", 0.0)
    assert told[-1] == ("vae_encoder: self-test", (1 + 0.95) / 2)


@in_this_process
def test_a_stripped_engine_gets_its_weights_from_the_bundle(
    store: EngineStore, bundle: Bundle
) -> None:
    built = build(store, strip=True)
    assert built.path.stat().st_size < bundle.component_bytes("vae_decoder") / 10
    assert load(store, bundle).outputs[0].name == "sample"


@in_this_process
def test_weights_are_streamed_where_the_gpu_is_small(store: EngineStore, bundle: Bundle) -> None:
    build(store, weight_streaming=True)
    assert load(store, bundle)._plan._engine.weight_streaming_budget_v2 == 1 << 20


@in_this_process
def test_out_of_memory_is_tried_once_more_with_less_effort(
    store: EngineStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SIMULATED_BUILD_FAILURES", "out of memory above 1")
    with caplog.at_level(logging.WARNING, "sdopt.engines"):
        assert header(build(store))["level"] == 1
    assert caplog.messages == [
        "Too little memory for the engine of vae_decoder at optimization level 3 (Error Code 2: "
        "OutOfMemory (Requested size was 4096 bytes.)). Trying once more at level 1."
    ]


def test_out_of_memory_for_good_is_an_error_in_words(
    store: EngineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMULATED_BUILD_FAILURES", "out of memory")
    with pytest.raises(BuildMemoryError) as caught:
        build(store)
    assert str(caught.value) == (
        "Building the engine of vae_decoder failed. There is too little memory at optimization "
        "level 3 and 1 (Error Code 2: OutOfMemory (Requested size was 4096 bytes.)). End other "
        "programs on the GPU, lower --workspace, or build for fewer or smaller pictures with "
        "--profile."
    )
    assert list(store.entries()) == []
    assert store.remove_partial() == 0


@in_this_process
def test_a_graph_that_tensorrt_cannot_read(
    store: EngineStore, bundle: Bundle, tmp_path: Path
) -> None:
    copy = copied(bundle, tmp_path)
    (copy.path / "vae_decoder" / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineBuildError) as caught:
        build_from(copy, store)
    assert str(caught.value).startswith(
        f"Building the engine of vae_decoder failed. In {copy.path}/vae_decoder/model.onnx: "
    )
    assert list(store.entries()) == []


def copied(bundle: Bundle, folder: Path) -> Bundle:
    """Copy a bundle, whose files are not compared with the manifest."""
    import shutil

    shutil.copytree(bundle.path, folder / "bundle")
    return Bundle(folder / "bundle", bundle.manifest)


def build_from(bundle: Bundle, store: EngineStore) -> BuiltEngine:
    from sdopt.engines.tensorrt.build import build_component

    return build_component(
        bundle, "vae_decoder", BuildOptions(store=store), lambda stage, share: None
    )


@in_this_process
def test_an_engine_that_computes_something_else_is_not_kept(
    store: EngineStore, bundle: Bundle, tmp_path: Path
) -> None:
    copy = copied(bundle, tmp_path)
    path = copy.path / "vae_decoder" / "model.onnx"
    graph = onnx.load(path)
    largest = max(graph.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    values = onnx.numpy_helper.to_array(largest)
    largest.CopyFrom(onnx.numpy_helper.from_array(values * 0, largest.name))
    onnx.save(graph, path)
    with pytest.raises(SelfTestError) as caught:
        build_from(copy, store)
    assert str(caught.value) == (
        f"The new engine of vae_decoder is off by {caught.value.found:.1e} at the bundle's "
        "reference pair, where at most 1e-04 is allowed, so it is not kept. A bundle exported with "
        "--precision fp32 tells whether it is the precision; `sdopt lint BUNDLE` may name the "
        "cause."
    )
    assert caught.value.found > 1e-3
    assert list(store.entries()) == []


@in_this_process
def test_another_tools_folder_is_refused(store: EngineStore, bundle: Bundle) -> None:
    folder = Bundle(bundle.path, bundle.manifest, sealed=False)
    with pytest.raises(OnnxFolderError, match="sdopt import FOLDER OUT"):
        build_from(folder, store)


@in_this_process
def test_without_an_engine_the_command_is_named(store: EngineStore, bundle: Bundle) -> None:
    with pytest.raises(EngineNotBuiltError) as caught:
        load(store, bundle)
    assert str(caught.value) == (
        "There is no engine of vae_decoder that can be used here: none was built for this bundle. "
        f"Build it: sdopt build {bundle.path} --engine tensorrt."
    )


@in_this_process
def test_an_engine_for_another_gpu_is_explained(
    store: EngineStore, bundle: Bundle, gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(store)
    other = Gpu("NVIDIA A100", "8.0")
    with pytest.raises(UnloadablePlanError) as caught:
        find(Model.of(bundle, "vae_decoder"), other, store)
    assert str(caught.value) == (
        "the stored one was built for Simulated GPU (compute capability 9.0), and this is "
        "NVIDIA A100 (8.0)"
    )


@in_this_process
def test_an_engine_of_another_version_is_explained(
    store: EngineStore, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(store)
    monkeypatch.setattr(sys.modules["tensorrt"], "__version__", "11.5.0.1")
    with pytest.raises(EngineNotBuiltError) as caught:
        load(store, bundle)
    assert str(caught.value).startswith(
        "There is no engine of vae_decoder that can be used here: the stored one was built with "
        "TensorRT 11.4.0.106, and this is 11.5.0.1. Build it: sdopt build "
    )


@pytest.mark.parametrize(
    ("ours", "compatible", "runs"),
    [
        ("11.4.0.106", "no", True),
        ("11.5.0.1", "yes", True),
        ("11.3.9.9", "yes", False),
        ("11.5.0.1", "no", False),
    ],
)
def test_which_versions_run_which_engines(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, ours: str, compatible: str, runs: bool
) -> None:
    wanted = profiles(bundle, "vae_decoder", [SizeBucket(96, 96)])
    key = engine_key(bundle, "vae_decoder", wanted, BuildOptions(), GPU)
    key = replace(key, options={"version_compatible": compatible})
    monkeypatch.setattr(sys.modules["tensorrt"], "__version__", ours)
    assert (mismatch(key, GPU) == "") is runs


@in_this_process
def test_a_truncated_engine_is_explained_and_built_again(
    store: EngineStore, bundle: Bundle
) -> None:
    built = build(store)
    size = built.path.stat().st_size
    built.path.write_bytes(built.path.read_bytes()[:1000])
    with pytest.raises(EngineNotBuiltError) as caught:
        load(store, bundle)
    assert str(caught.value).startswith(
        "There is no engine of vae_decoder that can be used here: engine.bin has 1000 bytes, where "
        f"its sidecar says {size}. Build it: sdopt build "
    )
    assert build(store).was_built
    assert load(store, bundle).name == "vae_decoder"


@in_this_process
def test_an_engine_that_tensorrt_refuses_is_dropped_and_explained(
    store: EngineStore, bundle: Bundle
) -> None:
    """It is the file that was built, so only TensorRT can tell that something is wrong with it."""
    wanted = profiles(bundle, "vae_decoder", [SizeBucket(96, 96)])
    key = engine_key(bundle, "vae_decoder", wanted, BuildOptions(), GPU)
    store.obtain(key, lambda path: path.write_bytes(b"no plan") and None)
    with pytest.raises(EngineNotBuiltError) as caught:
        load(store, bundle)
    assert str(caught.value).startswith(
        "There is no engine of vae_decoder that can be used here: TensorRT 11.4.0.106 refuses it: "
        "Serialization assertion magicTagRead == kMAGIC_TAG failed. Build it: sdopt build "
    )
    assert build(store).was_built


@in_this_process
def test_nothing_else_is_built_ahead() -> None:
    with pytest.raises(UnknownNameError) as caught:
        sdopt.build("shapes", engine="openvino")
    assert str(caught.value) == "Unknown engine to build 'openvino'. Choices: tensorrt."


@in_this_process
def test_a_version_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("10.12.0.36", "12.0.0.1"):
        monkeypatch.setattr(sys.modules["tensorrt"], "__version__", version)
        with pytest.raises(ProviderUnavailableError) as caught:
            api.library()
        assert str(caught.value) == (
            f"'tensorrt {version}' is not available here. Available: none. sdopt runs on 10.13 and "
            "later, and on 11: pip install 'sdopt[tensorrt]'."
        )


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [("tensorrt", "tensorrt", "tensorrt"), ("cuda.bindings", "cuda-bindings", "gpu")],
)
def test_a_missing_package_names_the_extra(
    store: EngineStore, monkeypatch: pytest.MonkeyPatch, module: str, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError) as caught:
        build(store)
    assert str(caught.value) == (
        f"{package} is not installed. Install it with: pip install 'sdopt[{extra}]'"
    )


@in_this_process
def test_auto_takes_tensorrt_where_everything_is_built(
    store: EngineStore, bundle: Bundle, built: EngineStore
) -> None:
    models = components(bundle)
    choice = choose("auto", "cuda", models, built)
    assert choice.engine == "tensorrt"
    assert "TensorRT runs engines that were built for this GPU" in choice.reason
    build(store)
    with pytest.raises(ProviderUnavailableError) as caught:  # no ONNX Runtime for CUDA here
        choose("auto", "cuda", models, store)
    assert str(caught.value) == (
        "'an engine for cuda' is not available here. Available: none. Install one, for instance "
        "with: pip install 'sdopt[gpu]'."
    )


HELD_UP = """
import sys, time
sys.path.insert(0, sys.argv[1])
import sdopt
from pathlib import Path
from sdopt.engines.build_options import BuildOptions
from sdopt.engines.store import EngineStore

begun, go_on = map(Path, sys.argv[3:])

def report(stage, share):
    begun.touch()
    while not go_on.exists():
        time.sleep(0.01)

options = BuildOptions(store=EngineStore(Path(sys.argv[2])))
(built,) = sdopt.build("shapes", options=options, components=["vae_decoder"], progress=report)
print(built.was_built)
"""


@pytest.fixture
def start(store: EngineStore, tmp_path: Path) -> Callable[[], subprocess.Popen[str]]:
    """Start a build that says that it has begun, and waits to be told to go on."""

    def starting() -> subprocess.Popen[str]:
        arguments = [SIMULATED, store.folder, tmp_path / "begun", tmp_path / "go on"]
        command = [sys.executable, "-c", HELD_UP, *map(str, arguments)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=HERE.parents[3]
        )

    return starting


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


def test_two_builders_at_once_build_once(
    start: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    first = start()
    wait_for(tmp_path / "begun", first)
    second = start()
    assert second.stderr is not None
    told = second.stderr.readline()
    assert told.startswith("Waiting for another process that builds the engine vae_decoder-")
    (tmp_path / "go on").touch()
    (one, _), (two, _) = first.communicate(timeout=60), second.communicate(timeout=60)
    assert (one, two) == ("True\n", "False\n")


def test_a_killed_build_leaves_no_process_and_is_built_again(
    start: Callable[[], subprocess.Popen[str]], store: EngineStore, tmp_path: Path
) -> None:
    process = start()
    wait_for(tmp_path / "begun", process)
    (worker,) = children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()
    assert len(list(store.folder.glob(".*.partial"))) == 1
    assert build(store).was_built
    assert not list(store.folder.glob(".*.partial"))


def children(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in found]
