"""The service on the carried model: its pictures are those of a pipeline alone."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from sdopt.errors import (
    CancelledError,
    InvalidValueError,
    NonFiniteError,
    QueueTimeoutError,
    RunTimeoutError,
    ServerBusyError,
    ShuttingDownError,
    UnknownNameError,
)
from sdopt.pipeline import Pipeline
from sdopt.serve.job import Failed, Finished, Order, Preview, Progress, Queued, row_cost
from sdopt.serve.limits import Limits
from sdopt.serve.service import PictureService
from sdopt.serve.warm_up import warm_up
from tests.serve.orders import Ear, pixels

PROMPTS = ("a red circle on a blue background", "a yellow star on a green background", "")
SCHEDULERS = ("ddim", "euler", "euler_ancestral", "dpmpp_2m_karras", "heun")


Serve = Callable[..., PictureService]


@pytest.fixture
def serve(pipeline: Pipeline) -> Iterator[Serve]:
    services: list[PictureService] = []

    def start(**limits: Any) -> PictureService:
        services.append(PictureService({"shapes": pipeline}, Limits(**limits)))
        return services[-1]

    yield start
    for service in services:
        service.close()


def order(pipeline: Pipeline, prompt: str = PROMPTS[0], **options: Any) -> Order:
    given = {"num_inference_steps": 3, "seed": 0, "height": 64, "width": 64} | options
    return Order(model="shapes", request=pipeline.request(prompt, **given))


def mixed(rng: random.Random) -> dict[str, Any]:
    return {
        "prompt": rng.choice(PROMPTS) * rng.choice([1, 1, 12]),
        "num_inference_steps": rng.randint(1, 6),
        "scheduler": rng.choice(SCHEDULERS),
        "guidance_scale": rng.choice([1.0, 3.0, 7.5]),
        "seed": rng.randrange(1000),
        "height": rng.choice([64, 72]),
        "width": 64,
        "num_images_per_prompt": rng.randint(1, 3),
    }


@contextmanager
def held(service: PictureService) -> Iterator[None]:
    """Hold the engine thread between two steps while the block runs."""
    reached, go_on = threading.Event(), threading.Event()

    def wait(_: object) -> None:
        reached.set()
        go_on.wait(60)

    service._engine.call(wait)
    assert reached.wait(60)
    try:
        yield
    finally:
        go_on.set()


def test_pictures_are_those_of_a_pipeline_alone(
    serve: Serve, pipeline: Pipeline, shapes: Pipeline
) -> None:
    service, rng = serve(max_rows=5), random.Random(0)
    orders = [mixed(rng) for _ in range(12)]
    ears = [Ear() for _ in orders]
    for options, ear in zip(orders, ears, strict=True):
        service.submit(order(pipeline, **options), ear.hear)
    for options, ear in zip(orders, ears, strict=True):
        finished = ear.end()
        assert isinstance(finished, Finished), finished
        alone = shapes(options.pop("prompt"), **options)
        ours = [pixels(picture.data) for picture in finished.pictures]
        assert ours == [image.tobytes() for image in alone.images]
    assert service.backlog.jobs == ()


def test_events_come_in_order_and_the_picture_says_how_to_make_it_again(
    serve: Serve, pipeline: Pipeline, shapes: Pipeline
) -> None:
    ear = Ear()
    wanted = replace(order(pipeline, num_inference_steps=8), partial_images=3)
    serve().submit(wanted, ear.hear)
    finished = ear.end()
    assert isinstance(finished, Finished)
    progress = [event.completed for event in ear.events if isinstance(event, Progress)]
    assert progress == list(range(1, 9))
    previews = [event for event in ear.events if isinstance(event, Preview)]
    assert [preview.number for preview in previews] == [0, 1, 2]
    assert len({preview.png for preview in previews}) == 3
    assert Image.open(BytesIO(previews[0].png)).size == (64, 64)
    image = Image.open(BytesIO(finished.pictures[0].data))
    settings = json.loads(image.text["sdopt"])  # type: ignore[attr-defined]
    for name in ("concepts", "model"):
        del settings[name]
    assert shapes(**settings).images[0].tobytes() == image.tobytes()
    timings = finished.timings
    assert timings.total_s == pytest.approx(timings.queue_s + timings.run_s)


def test_two_passes_go_through_the_same_loops(
    serve: Serve, pipeline: Pipeline, shapes: Pipeline
) -> None:
    service = serve(max_rows=3)
    options = [
        {"seed": 1, "hr_scale": 1.5, "num_images_per_prompt": 2},
        {"seed": 2, "hr_scale": 2, "hr_upscaler": "lanczos", "hr_second_pass_steps": 2},
        {"seed": 3, "width": 96, "height": 96},  # of the first one's second size
        {"seed": 4, "hr_scale": 1.5, "guidance_scale": 1.0, "subseed": 9, "subseed_strength": 0.3},
    ]
    ears = [Ear() for _ in options]
    for given, ear in zip(options, ears, strict=True):
        service.submit(replace(order(pipeline, **given), partial_images=3), ear.hear)
    for given, ear in zip(options, ears, strict=True):
        finished = ear.end()
        assert isinstance(finished, Finished), finished
        request = order(pipeline, **given).request
        alone = shapes.start(request).result.images
        ours = [pixels(picture.data) for picture in finished.pictures]
        assert ours == [image.tobytes() for image in alone]
        progress = [event for event in ear.events if isinstance(event, Progress)]
        assert progress[-1].completed == progress[-1].total == len(progress)
        previews = [event for event in ear.events if isinstance(event, Preview)]
        assert len(previews) == min(3, request.evaluations - 1) * request.num_images
        sizes = {Image.open(BytesIO(preview.png)).size for preview in previews}
        assert sizes == {alone[0].size}
    settings = dict(finished.pictures[0].settings)
    del settings["concepts"], settings["model"]
    assert shapes(**settings).images[0].tobytes() == ours[0]  # type: ignore[arg-type]
    assert service.backlog.seconds == 0


def test_a_late_short_order_overtakes_long_ones(serve: Serve, pipeline: Pipeline) -> None:
    service = serve(max_rows=4)
    done: list[str] = []

    def listen(name: str, ear: Ear) -> Callable[[Any], None]:
        def hear(event: Any) -> None:
            if isinstance(event, (Finished, Failed)):
                done.append(name)
            ear.hear(event)

        return hear

    ears = [Ear() for _ in range(4)]
    for ear in ears[:3]:
        service.submit(order(pipeline, num_inference_steps=30), listen("long", ear))
    ears[2].until(Progress)
    service.submit(order(pipeline), listen("short", ears[3]))
    for ear in ears:
        ear.end()
    assert done[0] == "short"


def test_cancelling_frees_the_row_for_those_who_wait(serve: Serve, pipeline: Pipeline) -> None:
    service = serve(max_rows=1)
    first, second = Ear(), Ear()
    job = service.submit(order(pipeline, num_inference_steps=100), first.hear)
    service.submit(order(pipeline), second.hear)
    assert second.next() == Queued(0)
    service.cancel(job)
    service.cancel(job)
    end = first.end()
    assert isinstance(end, Failed)
    assert isinstance(end.error, CancelledError)
    assert str(end.error) == "The request was cancelled."
    assert isinstance(second.end(), Finished)
    assert job.completed < 100


def test_one_poisoned_order_fails_alone(serve: Serve, pipeline: Pipeline, shapes: Pipeline) -> None:
    service = serve()
    good, bad = Ear(), Ear()
    with held(service):
        service.submit(order(pipeline, guidance_scale=1e38), bad.hear)
        service.submit(order(pipeline, seed=5), good.hear)
    end = bad.end()
    assert isinstance(end, Failed)
    assert isinstance(end.error, NonFiniteError)
    finished = good.end()
    assert isinstance(finished, Finished)
    alone = shapes(PROMPTS[0], num_inference_steps=3, seed=5, height=64, width=64).images[0]
    assert pixels(finished.pictures[0].data) == alone.tobytes()


def test_a_full_queue_refuses(serve: Serve, pipeline: Pipeline) -> None:
    service = serve(max_waiting=2)
    ears = [Ear(), Ear()]
    with held(service):
        for ear in ears:
            service.submit(order(pipeline), ear.hear)
        assert not service.ready
        with pytest.raises(ServerBusyError) as caught:
            service.submit(order(pipeline), Ear().hear)
        assert str(caught.value) == "2 requests are waiting already. Retry in 1 s."
    for ear in ears:
        assert isinstance(ear.end(), Finished)
    assert service.ready


def test_too_much_work_refuses_with_the_time_it_takes(serve: Serve, pipeline: Pipeline) -> None:
    service = serve(max_backlog_s=100.0)
    small = order(pipeline)
    service.backlog.measure(row_cost(small.request), 1.0)  # a row takes a second at each evaluation
    ear, more = Ear(), Ear()
    with held(service):
        service.submit(order(pipeline, num_inference_steps=60), ear.hear)
        service.submit(small, more.hear)
        with pytest.raises(ServerBusyError) as caught:
            service.submit(order(pipeline, num_inference_steps=60), Ear().hear)
        assert str(caught.value) == "2 requests are waiting already. Retry in 32 s."
    assert isinstance(more.end(), Finished)


def test_waiting_too_long_is_told(serve: Serve, pipeline: Pipeline) -> None:
    service = serve(max_rows=1, queue_timeout_s=0.05)
    first, second = Ear(), Ear()
    job = service.submit(order(pipeline, num_inference_steps=150), first.hear)
    first.until(Progress)
    service.submit(order(pipeline), second.hear)
    end = second.end()
    service.cancel(job)
    assert isinstance(end, Failed)
    assert isinstance(end.error, QueueTimeoutError)
    assert str(end.error).startswith(
        "The request waited for more than 0.05 s without being started, and no request may wait "
        "longer. Retry in "
    )


def test_running_too_long_is_told(serve: Serve, pipeline: Pipeline) -> None:
    ear = Ear()
    serve(run_timeout_s=0.01).submit(order(pipeline, num_inference_steps=100), ear.hear)
    end = ear.end()
    assert isinstance(end, Failed)
    assert isinstance(end.error, RunTimeoutError)
    assert str(end.error) == (
        "The pictures were not finished within 0.01 s, and no request may take longer. "
        "Ask for fewer pictures, fewer steps or a smaller size."
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"num_inference_steps": 151},
            "num_inference_steps=151 is not allowed. "
            "num_inference_steps is at most 150 on this server.",
        ),
        (
            {"num_images_per_prompt": 11},
            "num_images=11 is not allowed. num_images is at most 10 on this server.",
        ),
        (
            {"height": 2048, "width": 1024},
            "size='1024x2048' is not allowed. "
            "size is at most 1048576 pixels in all on this server.",
        ),
    ],
)
def test_what_is_too_much_for_one_request(
    serve: Serve, pipeline: Pipeline, options: dict[str, int], message: str
) -> None:
    with pytest.raises(InvalidValueError) as caught:
        serve().submit(order(pipeline, **options), Ear().hear)
    assert str(caught.value) == message


def test_an_unknown_model_is_refused(serve: Serve, pipeline: Pipeline) -> None:
    with pytest.raises(UnknownNameError) as caught:
        serve().submit(replace(order(pipeline), model="shape"), Ear().hear)
    assert str(caught.value) == "Unknown model 'shape'. Did you mean 'shapes'? Choices: shapes."


def test_draining_finishes_what_has_begun_and_refuses_the_rest(
    serve: Serve, pipeline: Pipeline
) -> None:
    service, ear = serve(), Ear()
    service.submit(order(pipeline), ear.hear)
    assert service.drain(60)
    assert isinstance(ear.end(), Finished)
    with pytest.raises(ShuttingDownError) as caught:
        service.submit(order(pipeline), Ear().hear)
    assert str(caught.value) == (
        "The server is shutting down and takes no new requests. Send the request to another."
    )


def test_closing_gives_up_what_runs(serve: Serve, pipeline: Pipeline) -> None:
    service, ear = serve(), Ear()
    service.submit(order(pipeline, num_inference_steps=150), ear.hear)
    ear.until(Progress)
    service.close()
    end = ear.end()
    assert isinstance(end, Failed)
    assert isinstance(end.error, ShuttingDownError)


def test_a_fault_of_the_engine_thread_is_told_to_everybody(
    serve: Serve, pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    service, ear = serve(), Ear()
    service.submit(order(pipeline, num_inference_steps=150), ear.hear)
    ear.until(Progress)

    def fault(_: object) -> None:
        raise RuntimeError("a fault")

    service._engine.call(fault)
    end = ear.end()
    assert isinstance(end, Failed)
    assert str(end.error) == "The server has failed: RuntimeError"
    service._engine.stop()
    assert not service.alive
    assert not service.ready
    assert "a fault" in caplog.text


def test_warming_up_measures_steps(serve: Serve) -> None:
    service = serve()
    warm_up(service)
    assert service.backlog._seconds_per_work > 0
