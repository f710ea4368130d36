"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

import sdopt
from sdopt.pipeline import Pipeline
from tests.export.graphs import Tiny
from tests.export.warm_worker import WarmWorker
from tests.made_once import made_once
from tests.simulated_gpu import simulated_gpu

ROOT = Path(__file__).parents[1]


ALL_CORES = pytest.StashKey[set[int]]()


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several test processes cores of its own, before anything counts them.

    Threads that wait for each other in loops take the time of the other process otherwise: two
    batches at once, with a thread each, take two thirds of what they take with two.
    """
    worker, count = (os.environ.get(f"PYTEST_XDIST_WORKER{end}", "") for end in ("", "_COUNT"))
    if not worker or not hasattr(os, "sched_setaffinity"):
        return
    config.stash[ALL_CORES] = os.sched_getaffinity(0)
    cores = sorted(config.stash[ALL_CORES])
    if len(cores) >= int(count):
        os.sched_setaffinity(0, cores[int(worker.removeprefix("gw")) :: int(count)])


@pytest.fixture(scope="module")
def all_cores(pytestconfig: pytest.Config) -> Iterator[None]:
    """Give a module's engines as many threads as users' have."""
    if ALL_CORES not in pytestconfig.stash:
        yield
        return
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, pytestconfig.stash[ALL_CORES])
    yield
    os.sched_setaffinity(0, own)


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the tests' cache apart from the user's."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDOPT_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def gpu() -> Iterator[ModuleType]:
    """A simulated GPU, with TensorRT. See tests/simulated/README.md."""
    with simulated_gpu() as runtime:
        yield runtime


@pytest.fixture(scope="session")
def shapes() -> Pipeline:
    """The carried model on ONNX Runtime."""
    return sdopt.load("shapes")


@pytest.fixture(scope="session")
def shapes_checkpoint() -> Path:
    """The checkpoint that the carried bundle was exported from."""
    return ROOT / "models" / "shapes" / "checkpoint"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A tiny Stable Diffusion 1.x checkpoint with random weights, and what torch makes of it."""
    script = [sys.executable, str(ROOT / "tests" / "export" / "tiny_checkpoint.py")]

    def make(out: Path) -> None:
        out.mkdir()
        subprocess.run([*script, str(out)], check=True, capture_output=True)

    out = made_once(tmp_path_factory, "tiny", make)
    return Tiny(out / "checkpoint", out / "expected")


@pytest.fixture(scope="session")
def tiny_export(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the tiny checkpoint, in fp32. Tracing is what costs: it is made once."""
    return made_once(tmp_path_factory, "tiny-export", partial(sdopt.export, tiny.checkpoint))


@pytest.fixture(scope="session")
def warm_worker() -> Iterator[WarmWorker]:
    """A worker process that imports torch once for all exports of tiny models."""
    worker = WarmWorker()
    yield worker
    worker.stop()


@pytest.fixture
def warm_exports(warm_worker: WarmWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `sdopt.export` use that process instead of two of its own."""
    monkeypatch.setattr("sdopt.export.exporter.running", warm_worker.running)
