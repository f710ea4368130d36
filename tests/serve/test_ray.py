"""A real Ray on this machine: two replicas behind a proxy, killed, overloaded, left and drained."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import psutil
import pytest
import requests

from sdopt.bench.alone import different_pictures
from sdopt.bench.client import Ask, Client
from sdopt.bench.load import open_loop
from sdopt.pipeline import Pipeline
from sdopt.serve.http.server import Address
from tests.serve.orders import pixels

pytest.importorskip("ray", reason="Ray is not installed: pip install 'sdopt[ray]'")
pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings
ROOT = Path(__file__).parents[2]
BODY: dict[str, Any] = {"prompt": "a red circle", "size": "64x64", "num_inference_steps": 3}
CLUSTER: dict[str, Any] = {
    "bundles": ["shapes"], "threads": 1, "num_cpus": 0.1, "min_replicas": 2, "max_replicas": 2,
    "max_rows": 2, "max_waiting": 2, "drain_timeout_s": 20,
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    import ray
    from ray import serve

    from sdopt.serve.ray import ClusterSettings, app, start_ray

    port = free_port()
    start_ray(Address(port=port))
    serve.run(app(ClusterSettings(**CLUSTER)), name="sdopt", route_prefix="/")
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()
    ray.shutdown()


def replicas() -> set[int]:
    """The process ids of the replicas that run."""
    title = "ray::ServeReplica:sdopt"
    return {one.pid for one in psutil.process_iter() if one_starts(one, title)}


def one_starts(process: psutil.Process, title: str) -> bool:
    try:
        return "".join(process.cmdline()).startswith(title)
    except psutil.Error:
        return False


def wait_for(what: Any, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_pictures_are_those_of_one_process(url: str, shapes: Pipeline) -> None:
    asks = [Ask(body=BODY | {"seed": seed}, after_s=0.2 * seed) for seed in range(12)]
    asks += [Ask(body=BODY | {"seed": 50, "n": 2, "scheduler": "heun"}, after_s=3.0)]
    answers = open_loop(Client(url), asks)
    assert {answer.outcome for answer in answers} == {"finished"}
    assert different_pictures(shapes, answers) == []


def test_the_openai_client_streams_through_the_proxy(url: str, shapes: Pipeline) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        stream = client.images.generate(
            prompt="a ring", stream=True, partial_images=2,
            extra_body={"seed": 1, "num_inference_steps": 60, "progress": True},
        )  # fmt: skip
        came = [(time.monotonic(), event) for event in stream]
        kinds = [event.type.split(".")[1] for _, event in came]
        assert kinds.count("partial_image") == 2
        assert kinds[-1] == "completed"
        # They came while it was made, not all at its end.
        assert came[kinds.index("partial_image")][0] < came[-1][0] - 0.02
        alone = shapes("a ring", seed=1, num_inference_steps=60).images[0]
        assert pixels(base64.b64decode(came[-1][1].b64_json)) == alone.tobytes()
        assert [model.id for model in client.models.list()] == ["shapes"]


def test_health_and_metrics(url: str) -> None:
    assert requests.get(f"{url}/health/ready", timeout=60).json()["status"] == "ready"
    assert requests.get(f"{url}/-/healthz", timeout=60).status_code == 200
    assert "sdopt_step_seconds_bucket" in requests.get(f"{url}/metrics", timeout=60).text
    for path in ("/", "/sdapi/v1/progress"):  # of one process alone
        assert requests.get(url + path, timeout=60).status_code == 404


def test_a_client_that_leaves_cancels(url: str) -> None:
    fields = BODY | {"num_inference_steps": 150, "n": 10, "stream": True, "progress": True}
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/images/generations", json.dumps(fields), headers)
    connection.getresponse().readline()
    connection.close()
    wait_for(lambda: cancelled(url) > 0)
    wait_for(lambda: all(rows == 0 for rows in seen(url, "sdopt_rows_running")))


def cancelled(url: str) -> float:
    return max(seen(url, 'sdopt_cancelled_total{phase="run"}'), default=0)


def seen(url: str, name: str) -> list[float]:
    """What the replicas that happen to answer say of a meter."""
    values = []
    for _ in range(8):
        lines = requests.get(f"{url}/metrics", timeout=60).text.splitlines()
        values += [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} ")]
    return values


def test_overload_is_answered_with_429(url: str, shapes: Pipeline) -> None:
    body = BODY | {"num_inference_steps": 40}
    answers = open_loop(Client(url), [Ask(body=body | {"seed": seed}) for seed in range(40)])
    assert {answer.status for answer in answers} == {200, 429}
    assert sum(answer.status == 200 for answer in answers) >= 4
    assert different_pictures(shapes, answers) == []


def test_what_ray_holds_back_itself_is_429_too(url: str) -> None:
    """Replicas answer before Ray has to: so here is one to which Ray gives one at a time."""
    from ray import serve

    from sdopt.serve.ray import ClusterSettings, app

    settings = ClusterSettings(**CLUSTER | {"min_replicas": 1, "max_replicas": 1})
    deployment = app(settings)._bound_deployment
    config = deployment._deployment_config
    assert (config.max_ongoing_requests, config.max_queued_requests) == (36, 2)
    narrow = deployment.options(name="narrow", max_ongoing_requests=1, max_queued_requests=1)
    serve.run(narrow.bind(settings), name="narrow", route_prefix="/narrow")
    body = BODY | {"num_inference_steps": 150}

    def ask(seed: int) -> requests.Response:
        address = f"{url}/narrow/v1/images/generations"
        return requests.post(address, json=body | {"seed": seed}, timeout=60)

    with ThreadPoolExecutor(8) as pool:
        came = list(pool.map(ask, range(8)))
    serve.delete("narrow")
    assert {answer.status_code for answer in came} == {200, 429}
    held_back = [answer for answer in came if answer.status_code == 429]
    assert {answer.headers["Retry-After"] for answer in held_back} == {"1"}


def test_a_killed_replica_fails_its_own_requests_alone(url: str, shapes: Pipeline) -> None:
    wait_for(lambda: len(replicas()) == 2)
    first, second = sorted(replicas())
    body = BODY | {"num_inference_steps": 150}
    asks = [Ask(body=body | {"seed": seed}, after_s=0.05 * seed) for seed in range(4)]
    killer = threading.Timer(0.6, os.kill, (first, signal.SIGKILL))
    killer.start()
    answers = open_loop(Client(url), asks)
    killer.join()
    outcomes = [answer.outcome for answer in answers]
    assert "finished" in outcomes
    assert different_pictures(shapes, answers) == []
    late = [Ask(body=BODY | {"seed": seed}, after_s=0.3 * seed) for seed in range(5)]
    assert {answer.outcome for answer in open_loop(Client(url), late)} == {"finished"}
    wait_for(lambda: len(replicas()) == 2 and first not in replicas())
    assert second in replicas()


def test_taking_it_down_finishes_what_runs(url: str, shapes: Pipeline) -> None:
    from ray import serve

    body = BODY | {"num_inference_steps": 100}
    answers: list[Any] = []
    client = Client(url)
    threads = [
        threading.Thread(
            target=lambda seed=seed: answers.append(
                client.send(Ask(body=body | {"seed": seed}), time.monotonic())
            )
        )
        for seed in range(3)
    ]
    for thread in threads:
        thread.start()
    wait_for(lambda: max(seen(url, "sdopt_rows_running")) > 0)
    serve.delete("sdopt")
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200] * 3
    assert different_pictures(shapes, answers) == []
    assert requests.post(f"{url}/v1/images/generations", json=BODY, timeout=60).status_code == 404


@pytest.mark.parametrize("name", ["ray.yaml", "kuberay.yaml"])
def test_the_files_of_deploy_are_what_ray_reads(name: str) -> None:
    import yaml
    from ray.serve.schema import ServeDeploySchema

    from sdopt.serve.ray import ClusterSettings

    text = yaml.safe_load((ROOT / "deploy" / name).read_text())
    told = yaml.safe_load(text["spec"]["serveConfigV2"]) if "spec" in text else text
    (application,) = ServeDeploySchema.model_validate(told).applications
    assert ClusterSettings.model_validate(application.args).max_replicas == 4


def test_the_command_serves_and_ends_with_0(shapes: Pipeline) -> None:
    """After the tests above, whose cluster has ended by then."""
    port = free_port()
    command = [sys.executable, "-m", "sdopt", "serve", "shapes", "--ray", "--port", str(port)]
    environment = os.environ | {"SDOPT_API_KEYS": "secret"}
    running = subprocess.Popen(
        [*command, "--num-cpus", "0.5"], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: running.poll() is not None or answers(url))
        assert requests.post(f"{url}/v1/images/generations", json=BODY).status_code == 401
        answer = Client(url, key="secret").send(Ask(body=BODY | {"seed": 3}), time.monotonic())
        assert answer.status == 200
        assert different_pictures(shapes, [answer]) == []
        # Longer than the 3 s after which Ray's own handler would abort.
        long = Ask(body=BODY | {"num_inference_steps": 150, "n": 10, "seed": 4})
        with ThreadPoolExecutor(1) as pool:
            last = pool.submit(Client(url, key="secret").send, long, time.monotonic())
            time.sleep(0.5)
            running.send_signal(signal.SIGTERM)
            assert last.result().status == 200
        assert running.wait(60) == 0
        assert different_pictures(shapes, [last.result()]) == []
    finally:
        running.kill()
        running.wait()


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/health/ready", timeout=5).status_code == 200
    except requests.RequestException:
        return False
