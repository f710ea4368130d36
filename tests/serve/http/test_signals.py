"""`sdopt serve` as a process: how it starts, how it ends, and what it refuses to start."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from sdopt.pipeline import Pipeline
from tests.cli.conftest import Cli
from tests.serve.orders import pixels

STEPS = 40


@contextmanager
def process(*options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "sdopt", "serve", "shapes", "--port", "0", *options]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield running
    finally:
        running.kill()
        running.wait()
        assert running.stderr
        running.stderr.close()


def url_of(running: subprocess.Popen[str]) -> str:
    assert running.stderr
    for line in running.stderr:
        message = json.loads(line)["message"]
        if "running on" in message:
            return str(message.split("running on ")[1].split(" ")[0])
    raise AssertionError("the server did not start")


def ask_for_ever(client: openai.OpenAI) -> None:
    while True:
        client.images.generate(prompt="late", extra_body={"num_inference_steps": 1})


def test_sigterm_finishes_what_runs_and_refuses_the_rest(shapes: Pipeline) -> None:
    answers: list[bytes] = []
    with process() as running:
        url = url_of(running)
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

        def make(seed: int) -> None:
            import base64

            extra = {"num_inference_steps": STEPS, "seed": seed}
            answer = client.images.generate(prompt="a ring", size="64x64", extra_body=extra)  # type: ignore[call-overload]
            answers.append(pixels(base64.b64decode(answer.data[0].b64_json)))

        threads = [threading.Thread(target=make, args=(seed,)) for seed in range(3)]
        for thread in threads:
            thread.start()
        health = client.with_options(base_url=url)
        while health.get("/health/ready", cast_to=object)["rows"] < 3:  # type: ignore[index]
            time.sleep(0.01)
        running.send_signal(signal.SIGTERM)
        with pytest.raises((openai.InternalServerError, openai.APIConnectionError)):
            ask_for_ever(client)
        for thread in threads:
            thread.join()
        assert running.wait(30) == 0
        client.close()
    alone = shapes("a ring", num_inference_steps=STEPS, seed=0, height=64, width=64,
                   num_images_per_prompt=3)  # fmt: skip
    assert sorted(answers) == sorted(image.tobytes() for image in alone.images)


def test_another_address_needs_keys(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SDOPT_API_KEYS", raising=False)
    assert cli("serve", "shapes", "--host", "0.0.0.0") == 2
    assert capsys.readouterr().err == (
        "Error: host='0.0.0.0' is not allowed. host is 127.0.0.1 where there are no API keys. "
        "Give --api-keys, or SDOPT_API_KEYS.\n"
    )
    empty = tmp_path / "keys"
    empty.write_text("\n")
    assert cli("serve", "shapes", "--api-keys", empty) == 2
    assert capsys.readouterr().err == (
        f"Error: api_keys={str(empty)!r} is not allowed. "
        "api_keys is a file with at least one key.\n"
    )


def test_what_is_ray_s_is_refused_without_it(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("serve", "shapes", "--num-gpus", 1) == 2
    assert capsys.readouterr().err == (
        "Error: num_gpus=1.0 is not allowed. num_gpus is not given without --ray.\n"
    )
    assert cli("serve", "shapes", "--ray", "--replicas", 3, 2) == 2
    assert capsys.readouterr().err == (
        "Error: replicas='3 2' is not allowed. replicas is the least and then the most.\n"
    )


def test_memory_is_a_size_with_a_unit(
    cli: Cli, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdopt.serve.http.server.log_as_json", lambda: None)  # not of this process
    assert cli("serve", "shapes", "--memory", "much") == 2
    assert "'much' is no size. Write for instance 12GiB or 800MB." in capsys.readouterr().err
    assert cli("serve", "shapes", "--memory", "1.5MB") == 2
    told = capsys.readouterr().err
    assert "memory='1500000 bytes' is not allowed. memory is at least " in told
    assert told.endswith(" bytes, which shapes takes as estimated.\n")
