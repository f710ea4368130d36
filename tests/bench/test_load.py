"""The load generator against a real server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sdopt.bench.alone import different_pictures
from sdopt.bench.client import Answer, Ask, Client
from sdopt.bench.load import closed_loop, open_loop, poisson_times
from sdopt.bench.summary import percentiles, summary
from sdopt.pipeline import Pipeline
from sdopt.serve.limits import Limits
from sdopt.serve.service import PictureService
from tests.cli.conftest import Cli
from tests.serve.conftest import Running, run_server

BODY = {"prompt": "a ring", "size": "64x64", "num_inference_steps": 2}


@pytest.fixture(scope="module")
def server(shapes: Pipeline) -> Iterator[Running]:
    import sdopt

    limits = Limits(max_rows=2, max_waiting=3)
    yield from run_server(PictureService({"shapes": sdopt.load("shapes")}, limits))


def test_outcomes_are_kept_apart(server: Running, shapes: Pipeline) -> None:
    asks = [
        Ask(body=BODY | {"seed": 1}),
        Ask(body=BODY | {"seed": 2, "stream": True, "partial_images": 1}),
        Ask(body=BODY | {"seed": 3, "n": 11}),
        Ask(body=BODY | {"seed": 4, "guidance_scale": 1e38, "num_inference_steps": 20}),
        Ask(body=BODY | {"seed": 5, "n": 10, "num_inference_steps": 150}, leave_after_s=0.3),
    ]
    answers = closed_loop(Client(server.url), asks, clients=1)
    outcomes = [answer.outcome for answer in answers]
    assert outcomes == ["finished", "finished", "refused", "refused", "cancelled"]
    assert [answer.status for answer in answers] == [200, 200, 400, 422, 0]
    assert answers[0].first_partial_s is None
    partial = answers[1].first_partial_s
    assert partial is not None
    assert 0 < partial < answers[1].total_s
    assert different_pictures(shapes, answers) == []
    swapped = replace(answers[0], digests=answers[1].digests)
    assert different_pictures(shapes, [swapped]) == [swapped]


def test_too_many_at_once_are_rejected_and_counted_apart(server: Running) -> None:
    asks = [Ask(body=BODY | {"seed": seed, "num_inference_steps": 40}) for seed in range(12)]
    begin = time.monotonic()
    answers = open_loop(Client(server.url), asks)
    outcomes = {answer.outcome for answer in answers}
    assert outcomes == {"finished", "rejected"}
    report = summary(answers, time.monotonic() - begin, deadline_s=0.0)
    assert report["requests"] == 12
    assert report["goodput_per_s"] == 0
    counted = report["outcomes"]
    assert isinstance(counted, dict)
    assert sum(counted.values()) == 12


def test_time_counts_from_the_intended_sending() -> None:
    class Late(Client):
        def send(self, ask: Ask, begin_s: float) -> Answer:
            time.sleep(0.2)
            now = time.monotonic()
            return Answer(ask=ask, outcome="failed", status=500, total_s=now - begin_s)

    answers = open_loop(Late("http://127.0.0.1:1"), [Ask(body={}), Ask(body={})])
    assert all(answer.total_s >= 0.2 for answer in answers)


def test_poisson_arrivals_have_their_rate() -> None:
    times = poisson_times(5.0, 4000)
    assert times == sorted(times)
    assert times[-1] / 4000 == pytest.approx(1 / 5.0, rel=0.05)


def test_percentiles() -> None:
    assert percentiles([None]) is None
    expected = {"p50": 50.5, "p95": 95.05, "p99": 99.01, "samples": 100}
    assert percentiles([*range(1, 101), None]) == expected


def test_the_command_prints_json(
    server: Running, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--requests", 3, "--steps", 2, "--size", "64x64", "--check", "shapes", "--stream"]
    assert cli("bench", "serve", server.url, *options) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["outcomes"] == {"finished": 3}
    assert report["different_from_alone"] == 0
    assert report["first_partial_s"]["samples"] == 3
