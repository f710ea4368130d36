"""Bundles come when they are asked for, and leave when their memory is needed."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

import sdopt
from sdopt.bundle.bundle import Bundle
from sdopt.errors import (
    BundleNotFoundError,
    InvalidValueError,
    ServerBusyError,
    ShuttingDownError,
    UnknownNameError,
)
from sdopt.pipeline import Pipeline
from sdopt.serve.claims import Claim, Source
from sdopt.serve.job import Finished, Order
from sdopt.serve.limits import Limits
from sdopt.serve.service import PictureService
from sdopt.serve.shelf import Shelf
from tests.serve.conftest import Running, run_server
from tests.serve.orders import Ear, pixels

SIZES = {"a": 4, "b": 4, "c": 8}


class Loads:
    """What a shelf did; loading waits where it is told to."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.log: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def source(self, name: str, needed_bytes: int) -> Source:
        def load() -> Pipeline:
            assert self.gate.wait(60)
            if name == "broken":
                raise BundleNotFoundError(name, ())
            return self.pipeline

        return Source(bundle=self.pipeline.bundle, needed_bytes=needed_bytes, load=load)

    def loaded(self, name: str, pipeline: Pipeline, seconds: float) -> None:
        self.log.append(f"{name} comes")

    def leaving(self, name: str) -> None:
        self.log.append(f"{name} leaves")


@pytest.fixture
def loads(shapes: Pipeline) -> Loads:
    return Loads(shapes)


@pytest.fixture
def shelf(loads: Loads) -> Iterator[Shelf]:
    shelf = shelf_of(loads, SIZES | {"broken": 1}, 10)
    yield shelf
    loads.gate.set()
    shelf.close()


def shelf_of(loads: Loads, sizes: dict[str, int], memory: int | None, **options: Any) -> Shelf:
    sources = {name: loads.source(name, size) for name, size in sizes.items()}
    shelf = Shelf(sources, memory, **options)
    shelf.attach(loads)
    return shelf


def got(claim: Claim) -> Pipeline:
    return claim.pipeline.result(60)


def use(shelf: Shelf, name: str) -> None:
    claim = shelf.claim(name)
    got(claim)
    shelf.leave(claim)


def test_what_is_asked_for_comes_and_the_least_recently_used_leaves(
    shelf: Shelf, loads: Loads
) -> None:
    for name in ("a", "b", "a", "c", "b", "b"):
        use(shelf, name)
    assert loads.log[:2] == ["a comes", "b comes"]
    assert loads.log[2:5] == ["b leaves", "a leaves", "c comes"]
    assert loads.log[5:] == ["c leaves", "b comes"]
    assert shelf.loaded == ("b",)


def test_only_as_many_leave_as_must(loads: Loads) -> None:
    shelf = shelf_of(loads, {"a": 4, "b": 4, "d": 4}, 8)
    for name in ("a", "b", "d"):
        use(shelf, name)
    shelf.close()
    assert loads.log[2:] == ["a leaves", "d comes"]


def test_one_in_use_stays_and_the_other_waits_for_it(shelf: Shelf, loads: Loads) -> None:
    first, second = shelf.claim("a"), shelf.claim("a")
    got(first)
    waiting = shelf.claim("c")
    assert shelf.waiting == 1
    shelf.leave(first)
    shelf.leave(first)
    assert not waiting.pipeline.done()
    shelf.leave(second)
    got(waiting)
    assert loads.log == ["a comes", "a leaves", "c comes"]


def test_while_one_is_loaded_the_others_are_used(shelf: Shelf, loads: Loads) -> None:
    use(shelf, "a")
    loads.gate.clear()
    coming = shelf.claim("b")
    use(shelf, "a")
    assert not coming.pipeline.done()
    loads.gate.set()
    got(coming)


def test_a_busy_one_cannot_keep_another_out_for_ever(loads: Loads) -> None:
    shelf = shelf_of(loads, SIZES, 10, patience_s=0.1)
    busy = shelf.claim("a")
    got(busy)
    waiting = shelf.claim("c")
    use(shelf, "a")  # still let in before
    time.sleep(0.15)
    late = shelf.claim("a")
    assert not late.pipeline.done()
    shelf.leave(busy)
    got(waiting)
    assert not late.pipeline.done()
    shelf.leave(waiting)
    got(late)
    shelf.close()
    assert loads.log == ["a comes", "a leaves", "c comes", "c leaves", "a comes"]


def test_who_goes_away_is_not_waited_for(shelf: Shelf, loads: Loads) -> None:
    busy = shelf.claim("a")
    got(busy)
    gone = shelf.claim("c")
    shelf.leave(gone)
    shelf.leave(busy)
    assert (shelf.waiting, shelf.loaded, loads.log) == (0, ("a",), ["a comes"])


def test_one_that_cannot_be_loaded_is_told_and_others_can(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(BundleNotFoundError):
        got(shelf.claim("broken"))
    use(shelf, "a")
    assert "Model broken could not be loaded" in caplog.text


def test_what_does_not_fit_even_alone_is_refused_at_once(loads: Loads) -> None:
    with pytest.raises(InvalidValueError) as caught:
        shelf_of(loads, SIZES, 7)
    assert str(caught.value) == (
        "memory='7 bytes' is not allowed. memory is at least 8 bytes, which c takes as estimated."
    )


def test_an_unknown_name(shelf: Shelf) -> None:
    with pytest.raises(UnknownNameError) as caught:
        shelf.claim("d")
    assert str(caught.value) == "Unknown model 'd'. Choices: a, b, c, broken."


def test_an_end_refuses_who_waits(shelf: Shelf) -> None:
    busy = shelf.claim("a")
    got(busy)
    waiting = shelf.claim("c")
    shelf.refuse(ShuttingDownError())
    with pytest.raises(ShuttingDownError):
        got(waiting)


class Two:
    """A service of two bundles, of which memory holds one; loading waits where it is told to."""

    def __init__(self, **limits: Any) -> None:
        self.gate = threading.Event()
        self.gate.set()
        bundle = Bundle.open("shapes")
        sources = {
            name: Source(bundle=bundle, needed_bytes=1, load=self.load) for name in ("one", "two")
        }
        self.service = PictureService(Shelf(sources, 1), Limits(max_rows=2, **limits))

    def load(self) -> Pipeline:
        assert self.gate.wait(60)
        return sdopt.load("shapes")

    def submit(self, model: str, steps: int, ear: Ear) -> None:
        claim = self.service.claim(model)
        request = got(claim).request(
            "a ring", seed=1, num_inference_steps=steps, height=64, width=64
        )
        self.service.submit(Order(model=model, request=request), ear.hear)
        self.service.models.leave(claim)


@pytest.fixture
def two() -> Iterator[Two]:
    two = Two(max_waiting=2)
    yield two
    two.gate.set()
    two.service.close()


def test_pictures_are_the_same_after_every_switch(two: Two, shapes: Pipeline) -> None:
    alone = shapes("a ring", seed=1, num_inference_steps=3, height=64, width=64).images[0]
    for model in ("one", "two", "one"):
        ear = Ear()
        two.submit(model, 3, ear)
        finished = ear.end()
        assert isinstance(finished, Finished)
        assert pixels(finished.pictures[0].data) == alone.tobytes()
        assert two.service.models.loaded == (model,)


def test_a_bundle_stays_until_its_rows_have_left(two: Two) -> None:
    ear, other = Ear(), Ear()
    two.submit("one", 100, ear)
    (job,) = two.service.backlog.jobs
    waiting = threading.Thread(target=two.submit, args=("two", 2, other))
    waiting.start()
    while not two.service.models.waiting:
        time.sleep(0.01)
    assert two.service.models.loaded == ("one",)
    two.service.cancel(job)
    waiting.join()
    assert isinstance(other.end(), Finished)
    assert two.service.models.loaded == ("two",)
    assert two.service.alive


def test_steps_go_on_while_another_bundle_is_loaded(shapes: Pipeline) -> None:
    gate: Future[Pipeline] = Future()
    sources = {
        "one": Source(bundle=shapes.bundle, needed_bytes=0, load=lambda: sdopt.load("shapes")),
        "slow": Source(bundle=shapes.bundle, needed_bytes=0, load=gate.result),
    }
    service, ear = PictureService(Shelf(sources), Limits()), Ear()
    claim = service.claim("one")
    request = got(claim).request("", num_inference_steps=2, seed=0, height=64, width=64)
    slow = service.claim("slow")
    service.submit(Order(model="one", request=request), ear.hear)
    assert isinstance(ear.end(), Finished)
    assert not slow.pipeline.done()
    gate.set_result(shapes)
    assert got(slow) is shapes
    service.close()


def test_switches_over_http(two: Two) -> None:
    import requests

    def make(server: Running, model: str) -> requests.Response:
        body = {"model": model, "prompt": "", "size": "64x64", "num_inference_steps": 1, "seed": 0}
        return requests.post(f"{server.url}/v1/images/generations", json=body, timeout=60)

    for server in run_server(two.service):
        assert [make(server, model).status_code for model in ("one", "two", "one")] == [200] * 3
        models = requests.get(f"{server.url}/v1/models", timeout=60).json()["data"]
        assert {one["id"]: one["loaded"] for one in models} == {"one": True, "two": False}
        text = requests.get(f"{server.url}/metrics", timeout=60).text
        told = dict(re.findall(r"^(sdopt_model_\w+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE))
        assert told['sdopt_model_evictions_total{model="one"}'] == "1.0"
        assert told['sdopt_model_load_seconds_count{model="one"}'] == "2.0"
        assert told['sdopt_model_loaded{model="one"}'] == "1.0"
        assert told['sdopt_model_loaded{model="two"}'] == "0.0"
        two.gate.clear()
        pool = ThreadPoolExecutor(2)
        coming = [pool.submit(make, server, "two") for _ in range(2)]
        while two.service.models.waiting < 2:
            time.sleep(0.01)
        busy = make(server, "two")
        assert (busy.status_code, busy.headers["retry-after"]) == (429, "1")
        assert make(server, "nothing").status_code == 404
        with pytest.raises(ServerBusyError):
            two.service.claim("two")
        two.gate.set()
        assert [answer.result().status_code for answer in coming] == [200, 200]
        pool.shutdown()


def test_a_bundle_that_does_not_come_in_time_is_told(two: Two) -> None:
    import requests

    two.service.limits = replace(two.service.limits, queue_timeout_s=0.05)
    two.gate.clear()
    for server in run_server(two.service):
        answer = requests.post(
            f"{server.url}/v1/images/generations", json={"prompt": ""}, timeout=60
        )
        two.gate.set()
    assert answer.status_code == 429
    assert answer.json()["error"]["message"] == (
        "The request waited for more than 0.05 s without being started, and no request may wait "
        "longer. Retry in 1 s."
    )
