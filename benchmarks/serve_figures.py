"""Measure `sdopt serve` on the carried model: overtaking, throughput by rows, overload, overhead.

    python benchmarks/serve_figures.py RECORD.json [--rounds 5] [--pairs 200] [--mixed 1000]

What is in the record already is not measured again: so it can be stopped and continued. Each server
is a process of its own, and all stay up: the sides of a comparison take turns in every round, so
that whatever else the machine does hits all of them. Medians of the rounds' ratios are what to
quote.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

import psutil
from machine import machine, versions
from served import served

import sdopt
from sdopt.bench.alone import different_pictures
from sdopt.bench.client import Ask
from sdopt.bench.load import closed_loop, open_loop, poisson_times
from sdopt.bench.summary import percentiles, summary
from sdopt.serve.picture_files import PictureFormat, picture_file

PROMPTS = ("a large red circle on a blue background", "a yellow star", "a ring on white", "")
POISON = {"guidance_scale": 3e38, "num_inference_steps": 20, "prompt": "a ring"}
SIZES = ("64x64", "72x64")
SIZE = {"size": "64x64", "guidance_scale": 3.0}


def overtaking(rounds: int) -> dict[str, object]:
    """Send a 4-step request behind eight 50-step requests, to rows enough and to one row."""
    body = {"prompt": PROMPTS[0], **SIZE}
    asks = [Ask(body=body | {"seed": seed, "num_inference_steps": 50}) for seed in range(8)]
    asks.append(Ask(body=body | {"seed": 8, "num_inference_steps": 4}, after_s=0.5))
    sides: dict[str, list[tuple[float, float]]] = {"together": [], "one after another": []}
    with served(9) as many, served(1) as one:
        for _ in range(rounds):
            for name, server in (("together", many), ("one after another", one)):
                begin = time.monotonic()
                short = open_loop(server.client, asks)[-1].total_s
                sides[name].append((round(short, 4), round(time.monotonic() - begin, 4)))
    pairs = list(zip(sides["together"], sides["one after another"], strict=True))
    return {
        "rounds": sides,
        "short_request_ratio": paired([(many[0], one[0]) for many, one in pairs]),
        "throughput_ratio": paired([(one[1], many[1]) for many, one in pairs]),
    }


def paired(pairs: list[tuple[float, float]]) -> dict[str, object]:
    """Return the ratio of each round, and their median: what else ran hits both sides alike."""
    ratios = [round(first / second, 4) for first, second in pairs]
    return {"median": median(ratios), "rounds": ratios}


def by_rows(rounds: int) -> dict[str, object]:
    """Measure the throughput of eight clients at once, by how many rows the server has."""
    body = {"prompt": PROMPTS[0], "num_inference_steps": 20, **SIZE}
    asks = [Ask(body=body | {"seed": seed}) for seed in range(8)]
    seconds: dict[int, list[float]] = {1: [], 2: [], 4: [], 8: []}
    with ExitStack() as stack:
        servers = {rows: stack.enter_context(served(rows)) for rows in seconds}
        for _ in range(rounds):
            for rows, server in servers.items():
                begin = time.monotonic()
                closed_loop(server.client, asks, clients=8)
                seconds[rows].append(round(time.monotonic() - begin, 4))
    against = {
        rows: paired(list(zip(seconds[1], times, strict=True))) for rows, times in seconds.items()
    }
    return {"seconds_for_8_pictures": seconds, "throughput_against_1_row": against}


def mixed_ask(rng: random.Random) -> Ask:
    body = {
        "prompt": rng.choice(PROMPTS),
        "num_inference_steps": rng.randint(1, 6),
        "scheduler": rng.choice(["ddim", "euler", "euler_ancestral", "dpmpp_2m_karras"]),
        "guidance_scale": rng.choice([1.0, 3.0, 7.5]),
        "size": rng.choice(SIZES),
        "seed": rng.randrange(20),
    }
    return Ask(body=body)


def overload(count: int) -> dict[str, object]:
    """Send mixed requests at twice the capacity, some of which leave or are poisoned.

    The largest batches and the same load with other seeds go before: ONNX Runtime keeps what its
    largest batch needed, threads and queues keep their pages, and such a batch comes by chance
    once in thousands. So memory is compared between two states in which it has been.
    """
    rng = random.Random(0)
    with served(8) as server:
        for size in SIZES:
            body = {**SIZE, "prompt": PROMPTS[0], "num_inference_steps": 10, "size": size}
            open_loop(server.client, [Ask(body=body | {"seed": seed}) for seed in range(8)])
        closed_loop(server.client, [mixed_ask(rng) for _ in range(100)], clients=16)
        begin = time.monotonic()
        closed_loop(server.client, [mixed_ask(rng) for _ in range(100)], clients=16)
        capacity = 100 / (time.monotonic() - begin)
        cold = server.memory_bytes
        open_loop(server.client, hostile_asks(rng, count, 2 * capacity))
        before, asks = server.memory_bytes, hostile_asks(rng, count, 2 * capacity)
        begin = time.monotonic()
        answers = open_loop(server.client, asks)
        seconds, after = time.monotonic() - begin, server.memory_bytes
    poisoned = [a for a in answers if a.ask.body["guidance_scale"] == POISON["guidance_scale"]]
    report = summary(answers, seconds, deadline_s=10.0)
    return report | {
        "capacity_per_s": round(capacity, 3),
        "poisoned": sorted(a.status for a in poisoned),
        "statuses": sorted({a.status for a in answers}),
        "memory_before_any_overload_bytes": cold,
        "memory_before_bytes": before,
        "memory_after_bytes": after,
        "memory_ratio": round(after / before, 4),
        "different_from_alone": len(different_pictures(sdopt.load("shapes"), answers)),
    }


def hostile_asks(rng: random.Random, count: int, rate: float) -> list[Ask]:
    """Return requests that arrive at a rate: one in ten leaves, one in a hundred is poisoned."""
    asks = []
    for index, after in enumerate(poisson_times(rate, count)):
        ask = replace(mixed_ask(rng), after_s=after)
        if index % 100 == 50:
            ask = replace(ask, body={**ask.body, **POISON})
        elif rng.random() < 0.1:
            ask = replace(ask, leave_after_s=rng.uniform(0.02, 1.0))
        asks.append(ask)
    return asks


def overhead(count: int) -> dict[str, object]:
    """Make the same pictures over HTTP and by a pipeline in this process, in turn, one at a time.

    Both encode prompts, denoise, decode and write a PNG file. What HTTP takes more is the request
    and answer as JSON and base64, two sockets, and three changes of thread.
    """
    body = {"prompt": PROMPTS[0], "num_inference_steps": 2, **SIZE}
    pipeline = sdopt.load("shapes")
    over_http, alone, answers = [], [], []
    with served(4) as server:
        for seed in range(count + 5):
            ask = Ask(body=body | {"seed": seed})
            answer = server.client.send(ask, time.monotonic())
            begin = time.monotonic()
            result = pipeline(
                PROMPTS[0],
                seed=seed,
                num_inference_steps=2,
                guidance_scale=3.0,
                height=64,
                width=64,
            )
            picture_file(result.images[0], PictureFormat(), result.settings(0), {})
            if seed >= 5:
                over_http.append(answer.exchange_s * 1e3)
                alone.append((time.monotonic() - begin) * 1e3)
                answers.append(answer)
    return {
        "over_http_ms": percentiles(over_http),
        "pipeline_alone_ms": percentiles(alone),
        "difference_of_medians_ms": round(median(over_http) - median(alone), 3),
        "beside_the_service_ms": percentiles(
            [(a.exchange_s - a.served_s) * 1e3 for a in answers if a.served_s is not None]
        ),
    }


def drain(count: int) -> dict[str, object]:
    """Send SIGTERM while requests run, and see what becomes of these and of later ones."""
    body = {"prompt": PROMPTS[0], "num_inference_steps": 50, **SIZE}
    asks = [Ask(body=body | {"seed": seed}) for seed in range(count)]
    with served(4) as server, ThreadPoolExecutor(count + 1) as pool:
        running = [pool.submit(server.client.send, ask, time.monotonic()) for ask in asks]
        time.sleep(0.5)
        begin = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        late = server.client.send(Ask(body=body | {"seed": count}), time.monotonic())
        answers = [one.result() for one in running]
        code = server.process.wait(60)
        seconds = time.monotonic() - begin
    return {
        "in_flight": dict(Counter(answer.outcome for answer in answers)),
        "late": late.status,
        "exit_code": code,
        "seconds": round(seconds, 3),
        "different_from_alone": len(different_pictures(sdopt.load("shapes"), answers)),
    }


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, object]]] = {
    "overtaking": lambda options: overtaking(options.rounds),
    "by_rows": lambda options: by_rows(options.rounds),
    "overhead": lambda options: overhead(options.pairs),
    "drain": lambda _: drain(12),
    "overload": lambda options: overload(options.mixed),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("record", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--mixed", type=int, default=1000)
    options = parser.parse_args()
    here = machine()
    niceness = here.pop("niceness")
    where = {
        "machine": here,
        "versions": versions("sdopt", "onnxruntime", "fastapi", "uvicorn", "numpy"),
    }
    record = json.loads(options.record.read_text()) if options.record.exists() else dict(where)
    if {name: record[name] for name in where} != where:
        sys.exit(f"{options.record} is of another machine or other versions: name another file.")
    for name, measure in PARTS.items():
        if name not in record:
            load = {"load_average_before": round(psutil.getloadavg()[0], 2), "niceness": niceness}
            record[name] = measure(options) | load
            options.record.write_text(json.dumps(record, indent=2) + "\n")
            print(name, json.dumps(record[name]), flush=True)


if __name__ == "__main__":
    main()
