"""More requests than can be done, some of which leave or are poisoned: each has one right end."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sdopt
from sdopt.bench.alone import different_pictures
from sdopt.bench.client import Ask, Client
from sdopt.bench.load import open_loop
from sdopt.pipeline import Pipeline
from sdopt.serve.limits import Limits
from sdopt.serve.service import PictureService
from tests.conftest import ROOT
from tests.serve.conftest import Running, run_server


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script that measures this for the record."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import serve_figures

    return serve_figures


@pytest.fixture(scope="module")
def small() -> Iterator[Running]:
    limits = Limits(max_rows=4, max_waiting=8)
    yield from run_server(PictureService({"shapes": sdopt.load("shapes")}, limits))


def test_every_request_has_one_right_end(small: Running, figures: Any, shapes: Pipeline) -> None:
    asks = figures.hostile_asks(random.Random(1), 120, 100.0)
    answers = open_loop(Client(small.url), asks)
    # In the rush whoever would leave may be turned away before: one more leaves in peace.
    slow = asks[0].body | {"num_inference_steps": 150}
    answers += open_loop(Client(small.url), [Ask(body=slow, leave_after_s=0.1)])
    assert {answer.status for answer in answers} >= {0, 200, 429}
    for answer in answers:
        poisoned = answer.ask.body["guidance_scale"] == figures.POISON["guidance_scale"]
        assert answer.status in ({422, 429} if poisoned else {0, 200, 429})
        assert (answer.status == 0) <= (answer.ask.leave_after_s is not None)
    poison = Ask(body=asks[50].body)
    company = [Ask(body=asks[0].body | {"seed": seed}) for seed in range(3)]
    answers += (few := open_loop(Client(small.url), [company[0], poison, *company[1:]]))
    assert [answer.status for answer in few] == [200, 422, 200, 200]
    assert different_pictures(shapes, answers) == []
    assert small.service.backlog.jobs == ()
    assert small.service.alive


@pytest.mark.slow
def test_a_thousand_at_twice_the_capacity(figures: Any, tmp_path: Path) -> None:
    report = figures.overload(1000)
    assert sum(report["outcomes"].values()) == 1000
    assert set(report["outcomes"]) <= {"finished", "rejected", "refused", "cancelled"}
    assert set(report["statuses"]) <= {0, 200, 422, 429}
    assert len(report["poisoned"]) == 10
    assert set(report["poisoned"]) <= {422, 429}
    assert report["different_from_alone"] == 0
    assert report["memory_ratio"] < 1.05
