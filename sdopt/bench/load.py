"""Load on a server: clients that wait for their answers, or arrivals that wait for nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from sdopt.bench.client import Answer, Ask, Client


def closed_loop(client: Client, asks: Sequence[Ask], clients: int) -> list[Answer]:
    """Send every request, each of so many clients one after the other.

    Returns:
        The answers, in the order of the requests; a request is meant to be sent when it is.
    """
    begin = time.monotonic()

    def send(ask: Ask) -> Answer:
        return client.send(replace(ask, after_s=time.monotonic() - begin), begin)

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(send, asks))


def open_loop(client: Client, asks: Sequence[Ask]) -> list[Answer]:
    """Send every request at its intended time, whatever became of the others.

    Returns:
        The answers, in the order of the requests.
    """
    answers: list[Answer | BaseException | None] = [None] * len(asks)
    begin = time.monotonic()

    def send(index: int, ask: Ask) -> None:
        time.sleep(max(0.0, begin + ask.after_s - time.monotonic()))
        try:
            answers[index] = client.send(ask, begin)
        except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
            answers[index] = error

    threads = []
    for index, ask in enumerate(asks):
        time.sleep(max(0.0, begin + ask.after_s - time.monotonic() - 0.05))
        threads.append(threading.Thread(target=send, args=(index, ask)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return [_answered(answer) for answer in answers]


def poisson_times(rate: float, count: int, seed: int = 0) -> list[float]:
    """Draw when requests arrive, in seconds, at so many a second on average."""
    return list(np.random.default_rng(seed).exponential(1 / rate, count).cumsum().tolist())


def _answered(answer: Answer | BaseException | None) -> Answer:
    if isinstance(answer, BaseException):
        raise answer
    assert answer is not None
    return answer
