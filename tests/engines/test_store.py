"""The store of built engines: a stale, damaged or foreign engine is explained and built again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sdopt.engines.key import EngineKey
from sdopt.engines.store import EngineStore
from sdopt.errors import EngineStoreError

KEY = EngineKey(
    component="unet",
    model_sha256="ab" * 32,
    engine="tensorrt",
    engine_version="11.4.0.106",
    device="NVIDIA H200",
    compute_capability="9.0",
    profile="512x512:1-4",
    options={"workspace": "8GiB"},
)


class Builder:
    """Writes numbered engines, and counts them."""

    def __init__(self) -> None:
        self.builds = 0

    def __call__(self, path: Path) -> None:
        self.builds += 1
        path.write_bytes(b"engine %d" % self.builds)


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / "engines")


@pytest.fixture
def builder() -> Builder:
    return Builder()


def test_an_engine_is_built_once(store: EngineStore, builder: Builder) -> None:
    first, second = store.obtain(KEY, builder), store.obtain(KEY, builder)
    assert first == second
    assert first.read_bytes() == b"engine 1"
    assert builder.builds == 1


def test_the_sidecar_says_in_words_what_the_engine_depends_on(
    store: EngineStore, builder: Builder
) -> None:
    path = store.obtain(KEY, builder)
    said = json.loads((path.parent / "engine.json").read_text())
    assert said["key"] == {
        "component": "unet",
        "model_sha256": "ab" * 32,
        "engine": "tensorrt",
        "engine_version": "11.4.0.106",
        "device": "NVIDIA H200",
        "compute_capability": "9.0",
        "profile": "512x512:1-4",
        "options": {"workspace": "8GiB"},
    }
    assert said["file"]["size_bytes"] == len(b"engine 1")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (
            {"device": "NVIDIA A100", "compute_capability": "8.0"},
            "device is 'NVIDIA A100', and the stored engine has 'NVIDIA H200'; "
            "compute_capability is '8.0', and the stored engine has '9.0'",
        ),
        (
            {"engine_version": "10.13"},
            "engine_version is '10.13', and the stored engine has '11.4.0.106'",
        ),
        ({"profile": "any"}, "profile is 'any', and the stored engine has '512x512:1-4'"),
        (
            {"model_sha256": "cd" * 32},
            f"model_sha256 is '{'cd' * 32}', and the stored engine has '{'ab' * 32}'",
        ),
        (
            {"options": {"workspace": "4GiB"}},
            "options.workspace is '4GiB', and the stored engine has '8GiB'",
        ),
        ({"options": {}}, "options.workspace is None, and the stored engine has '8GiB'"),
    ],
)
def test_an_engine_for_something_else_is_not_used(
    store: EngineStore,
    builder: Builder,
    changed: dict[str, object],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Another GPU, another version, other shapes, another checkpoint, other options."""
    store.obtain(KEY, builder)
    key = replace(KEY, **changed)  # type: ignore[arg-type]
    assert store.why(key) == reason
    assert store.obtain(key, builder).read_bytes() == b"engine 2"
    assert caplog.messages == [f"Building the engine {key.name}: {reason}."]
    assert store.why(KEY) == ""
    assert store.why(key) == ""


def truncate(entry: Path) -> None:
    (entry / "engine.bin").write_bytes(b"eng")


def tamper(entry: Path) -> None:
    (entry / "engine.bin").write_bytes(b"engine X")


def remove_engine(entry: Path) -> None:
    (entry / "engine.bin").unlink()


def remove_sidecar(entry: Path) -> None:
    (entry / "engine.json").unlink()


def break_sidecar(entry: Path) -> None:
    (entry / "engine.json").write_text("{")


def add_to_sidecar(entry: Path) -> None:
    _edit(entry, author="nobody")


def age_sidecar(entry: Path) -> None:
    _edit(entry, format_version=0)


def put_another_gpus_engine(entry: Path) -> None:
    data = json.loads((entry / "engine.json").read_text())
    _edit(entry, key=data["key"] | {"device": "NVIDIA A100"})


def open_to_others(entry: Path) -> None:
    (entry / "engine.bin").chmod(0o666)


def _edit(entry: Path, **changes: object) -> None:
    data = json.loads((entry / "engine.json").read_text())
    (entry / "engine.json").write_text(json.dumps(data | changes))


DAMAGES = {
    truncate: "engine.bin has 3 bytes, where its sidecar says 8",
    tamper: "engine.bin has been changed since it was built",
    remove_engine: "its engine.bin is missing",
    remove_sidecar: "no engine.json vouches for it",
    break_sidecar: "its engine.json cannot be read: Expecting property name enclosed in double "
    "quotes: line 1 column 2 (char 1)",
    add_to_sidecar: "its engine.json is not one: sidecar: unknown keys: 'author'",
    age_sidecar: "its engine.json has format_version 0, not 1",
    put_another_gpus_engine: "it is foreign: device is 'NVIDIA H200', "
    "and the stored engine has 'NVIDIA A100'",
    open_to_others: "engine.bin can be written by others (mode 666)",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_engine_is_explained_and_built_again(
    store: EngineStore, builder: Builder, damage: object, caplog: pytest.LogCaptureFixture
) -> None:
    entry = store.obtain(KEY, builder).parent
    damage(entry)  # type: ignore[operator]
    assert store.why(KEY) == DAMAGES[damage]  # type: ignore[index]
    assert store.obtain(KEY, builder).read_bytes() == b"engine 2"
    assert caplog.messages == [f"Building the engine {KEY.name}: {DAMAGES[damage]}."]  # type: ignore[index]
    assert store.why(KEY) == ""


def test_an_engine_whose_backend_refuses_it_is_dropped(
    store: EngineStore, builder: Builder, caplog: pytest.LogCaptureFixture
) -> None:
    store.obtain(KEY, builder)
    store.discard(KEY, "TensorRT cannot read it")
    assert caplog.messages == [f"Dropping the engine {KEY.name}: TensorRT cannot read it."]
    assert store.why(KEY) == "none was built yet"


def test_a_failed_build_leaves_nothing(store: EngineStore, builder: Builder) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise MemoryError

    with pytest.raises(MemoryError):
        store.obtain(KEY, fail)
    assert [path.name for path in store.folder.iterdir()] == [f".{KEY.name}.lock"]
    assert store.obtain(KEY, builder).read_bytes() == b"engine 1"


def test_a_failed_rebuild_leaves_the_other_engines(store: EngineStore, builder: Builder) -> None:
    def fail(path: Path) -> None:
        raise MemoryError

    other = store.obtain(KEY, builder)
    with pytest.raises(MemoryError):
        store.obtain(replace(KEY, device="NVIDIA A100"), fail)
    assert other.read_bytes() == b"engine 1"


SLOW_BUILDER = """
import sys, time
from pathlib import Path
from sdopt.engines.store import EngineStore
from tests.engines.test_store import KEY

def build(path):
    with open(sys.argv[2], "a") as log:
        log.write("built\\n")
    path.write_bytes(b"half")
    time.sleep(float(sys.argv[3]))
    path.write_bytes(b"whole")

print(EngineStore(Path(sys.argv[1])).obtain(KEY, build).read_bytes().decode())
"""


def start_builder(store: EngineStore, log: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SLOW_BUILDER, str(store.folder), str(log), str(seconds)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


def test_two_processes_build_once(store: EngineStore, tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = start_builder(store, log, 1.0)
    wait_for(log, first)
    second = start_builder(store, log, 1.0)
    (one, _), (two, told) = first.communicate(timeout=60), second.communicate(timeout=60)
    assert one == two == "whole\n"
    assert log.read_text() == "built\n"
    assert told == f"Waiting for another process that builds the engine {KEY.name}.\n"


def test_a_killed_build_is_built_again(
    store: EngineStore, builder: Builder, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    process = start_builder(store, log, 600)
    wait_for(log, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert store.why(KEY) == "none was built yet"
    assert len(list(store.folder.glob(".*.partial"))) == 1
    assert store.obtain(KEY, builder).read_bytes() == b"engine 1"
    assert not list(store.folder.glob(".*.partial"))


def test_what_killed_builds_leave_behind_can_be_removed(store: EngineStore) -> None:
    (store.folder / f".{KEY.name}.abc.partial").mkdir(parents=True)
    assert store.remove_partial() == 1
    assert store.remove_partial() == 0


def test_an_engine_in_the_making_is_left_alone(store: EngineStore, tmp_path: Path) -> None:
    process = start_builder(store, tmp_path / "log", 600)
    try:
        wait_for(tmp_path / "log", process)
        assert store.remove_partial() == 0
        assert len(list(store.folder.glob(".*.partial"))) == 1
    finally:
        process.kill()
        process.communicate()


def test_entries_say_what_is_wrong_with_them(store: EngineStore, builder: Builder) -> None:
    sound = store.obtain(KEY, builder).parent
    wrong = store.obtain(replace(KEY, component="vae_decoder"), builder).parent
    tamper(wrong)
    moved = sound.with_name("unet-0")
    sound.rename(moved)
    assert [(stored.path, stored.problem) for stored in store.entries()] == [
        (moved, "it lies under the name of another engine"),
        (wrong, DAMAGES[tamper]),
    ]


def test_an_entry_can_be_removed(store: EngineStore, builder: Builder) -> None:
    store.obtain(KEY, builder)
    (stored,) = store.entries()
    assert store.remove(stored)
    assert not list(store.entries())


def test_a_store_that_cannot_be_written(tmp_path: Path, builder: Builder) -> None:
    (tmp_path / "engines").write_text("a file where the folder should be")
    with pytest.raises(EngineStoreError) as caught:
        EngineStore(tmp_path / "engines").obtain(KEY, builder)
    assert str(caught.value) == (
        f"Cannot keep a built engine in {tmp_path / 'engines'}: File exists. Free some space "
        "there with `sdopt engines clean`, or set SDOPT_CACHE to a folder that can be written."
    )
    assert builder.builds == 0
