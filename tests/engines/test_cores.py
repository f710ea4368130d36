"""Engines start no more threads than the process has cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sdopt.bundle.bundle import Bundle
from sdopt.engines import cores
from sdopt.engines.cores import threads_of, usable_cores
from sdopt.engines.options import EngineOptions, Model


@pytest.fixture
def cpu_max(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What a container says of its limit; there is none at first."""
    path = tmp_path / "cpu.max"
    monkeypatch.setattr(cores, "_CPU_MAX", path)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return path


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (None, 8),
        ("max 100000\n", 8),
        ("400000 100000\n", 4),
        ("250000 100000\n", 2),
        ("50000 100000\n", 1),
        ("3200000 100000\n", 8),
    ],
)
def test_the_lesser_of_affinity_and_quota_counts(
    cpu_max: Path, limit: str | None, expected: int
) -> None:
    if limit is not None:
        cpu_max.write_text(limit)
    assert usable_cores() == threads_of(None) == expected
    assert threads_of(3) == 3


def test_with_all_cores_it_is_left_to_the_backend(
    cpu_max: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert usable_cores() == 16
    assert threads_of(None) is None
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == 16


@pytest.fixture
def one_core() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def onnxruntime_threads(model: Model, options: EngineOptions) -> int:
    ort = pytest.importorskip("onnxruntime", reason="needs sdopt[cpu]")
    from sdopt.engines.onnxruntime.session import session_options

    count: int = session_options(ort, model, options).intra_op_num_threads
    return count


def openvino_threads(model: Model, options: EngineOptions) -> int:
    pytest.importorskip("openvino", reason="needs sdopt[openvino]")
    from sdopt.engines.openvino.backend import Backend

    count: int = Backend(options).open(model).get_property("INFERENCE_NUM_THREADS")
    return count


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be pinned here")
@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize("threads", [onnxruntime_threads, openvino_threads])
def test_a_process_that_is_pinned_to_a_core_has_one_thread(
    threads: Callable[[Model, EngineOptions], int],
) -> None:
    if os.cpu_count() == 1:
        pytest.skip("there is one core anyway")
    model = Model.of(Bundle.open("shapes"), "vae_decoder")
    assert threads(model, EngineOptions()) == 1
