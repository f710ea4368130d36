# ruff: noqa: E501 - messages are written as they are read
"""The OpenAI Images API, asked by the real ``openai`` client over a real socket."""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from PIL import Image

from sdopt.pipeline import Pipeline
from sdopt.serve.http.fields import markdown_table
from sdopt.serve.http.openai_fields import OPENAI_FIELDS
from tests.conftest import ROOT
from tests.serve.conftest import Running
from tests.serve.orders import pixels

PROMPT = "a red circle on a blue background"
SMALL = {"num_inference_steps": 3, "seed": 7}
TINY = {"num_inference_steps": 1, "seed": 7, "size": "64x64"}


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def picture(data: str | None) -> bytes:
    assert data is not None
    return pixels(base64.b64decode(data))


def test_pictures_are_the_pipelines(client: openai.OpenAI, shapes: Pipeline) -> None:
    answer = client.images.generate(
        model="shapes",
        prompt=PROMPT,
        n=2,
        size="72x64",  # type: ignore[call-overload]
        extra_body=SMALL
        | {
            "guidance_scale": 5.0,
            "scheduler": "euler_ancestral",
            "negative_prompt": "a star",
        },
    )
    alone = shapes(
        PROMPT, **SMALL, width=72, height=64, guidance_scale=5.0, scheduler="euler_ancestral",
        negative_prompt="a star", num_images_per_prompt=2,
    )  # fmt: skip
    assert [picture(one.b64_json) for one in answer.data] == [i.tobytes() for i in alone.images]
    assert [one.seed for one in answer.data] == [7, 8]
    assert (answer.size, answer.output_format) == ("72x64", "png")
    assert set(answer.timings) == {"queue_ms", "run_ms", "total_ms"}


def test_a_stream_has_partial_images_and_then_the_picture(
    client: openai.OpenAI, shapes: Pipeline
) -> None:
    stream = client.images.generate(
        prompt=PROMPT,
        stream=True,
        partial_images=2,
        extra_body={"seed": 1, "num_inference_steps": 9, "progress": True},
    )
    events = list(stream)
    kinds = [event.type for event in events]
    partial = [event for event in events if event.type == "image_generation.partial_image"]
    assert [event.partial_image_index for event in partial] == [0, 1]
    assert kinds.count("image_generation.progress") == 9
    assert kinds[-1] == "image_generation.completed"
    assert kinds.index("image_generation.partial_image") < len(kinds) - 2
    alone = shapes(PROMPT, seed=1, num_inference_steps=9).images[0]
    assert picture(events[-1].b64_json) == alone.tobytes()
    assert len({event.b64_json for event in (*partial, events[-1])}) == 3


def test_jpeg_and_webp(client: openai.OpenAI) -> None:
    sizes = {}
    for kind in ("jpeg", "webp"):
        for quality in (10, 95):
            answer = client.images.generate(
                prompt=PROMPT, output_format=kind, output_compression=quality, extra_body=SMALL
            )
            data = base64.b64decode(answer.data[0].b64_json)
            assert Image.open(BytesIO(data)).format == kind.upper()
            sizes[kind, quality] = len(data)
    assert sizes["jpeg", 10] < sizes["jpeg", 95]
    assert sizes["webp", 10] < sizes["webp", 95]


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["shapes"]
    assert client.models.retrieve("shapes").defaults["num_inference_steps"] == 20
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("shape")
    assert caught.value.body["message"] == (
        "Unknown model 'shape'. Did you mean 'shapes'? Choices: shapes."
    )


REFUSED = [
    ({"size": "100x96"}, "height", None),
    ({"size": "large"}, "size", "size='large' is not allowed. size is 'auto' or WIDTHxHEIGHT in pixels."),
    ({"n": 11}, "n", "n: Input should be less than or equal to 10."),
    ({"response_format": "url"}, "response_format", "response_format='url' is not allowed. response_format is 'b64_json'. No files are kept."),
    ({"background": "transparent"}, "background", "background='transparent' is not allowed. background is 'auto' or 'opaque'. Pictures have no transparency."),
    ({"quality": "hd"}, "quality", "quality='hd' is not allowed. quality is 'auto' or 'standard'. Say num_inference_steps instead."),
    ({"style": "vivid"}, "style", "style='vivid' is not allowed. style is not supported by this server. Say it in the prompt."),
    ({"partial_images": 2}, "partial_images", 'partial_images=2 is not allowed. partial_images is for streams only. Send "stream": true.'),
    ({"output_compression": 50}, "output_compression", "output_compression=50 is not allowed. output_compression is for jpeg and webp only."),
    ({"extra_body": {"sed": 1}}, "sed", None),
    ({"extra_body": {"scheduler": "eular"}}, "eular", None),
    ({"extra_body": {"seed": -1}}, "seed", "seed=-1 is not allowed. seed is a whole number from 0 to 4294967295."),
    ({"extra_body": {"num_inference_steps": 151}}, "num_inference_steps", "num_inference_steps=151 is not allowed. num_inference_steps is at most 150 on this server."),
    ({"prompt": "a" * 8001}, "length of prompt", "length of prompt=8001 is not allowed. length of prompt is at most 8000 on this server."),
    ({"prompt": "a BREAK " * 8 + "a"}, "prompt chunks", "prompt chunks=9 is not allowed. prompt chunks is at most 8 on this server."),
]  # fmt: skip


@pytest.mark.parametrize(("options", "param", "message"), REFUSED)
def test_what_is_refused(
    client: openai.OpenAI, options: dict[str, Any], param: str, message: str | None
) -> None:
    if param == "height":
        param, message = (
            "width",
            "width=100 is not a multiple of 8. The nearest widths are 96 and 104.",
        )
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(**{"prompt": PROMPT} | options)
    assert caught.value.body["param"] == param
    assert caught.value.body["type"] == "invalid_request_error"
    if message:
        assert caught.value.body["message"] == message
    assert caught.value.response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("field", OPENAI_FIELDS, ids=lambda field: field.name)
def test_the_table_says_what_the_code_does(client: openai.OpenAI, field: Any) -> None:
    """A refused field is refused; one without effect changes nothing."""
    if field.verdict == "honoured":
        from sdopt.serve.http.openai_requests import ImagesRequest

        assert field.name in ImagesRequest.model_fields
        return
    for value in (*field.neutral, "something") if field.verdict == "refused" else ("anything",):
        body = TINY | {field.name: value}
        if field.verdict == "refused" and value == "something":
            with pytest.raises(openai.BadRequestError):
                client.images.generate(prompt=PROMPT, extra_body=body)
            continue
        answer = client.images.generate(prompt=PROMPT, extra_body=body)
        plain = client.images.generate(prompt=PROMPT, extra_body=TINY)
        assert picture(answer.data[0].b64_json) == picture(plain.data[0].b64_json)


def test_the_published_table_is_the_code_s() -> None:
    assert markdown_table(OPENAI_FIELDS) in (ROOT / "docs" / "api-openai.md").read_text()


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_cancels(server: Running, stream: bool) -> None:
    fields = {"prompt": PROMPT, "num_inference_steps": 150, "n": 10, "size": "64x64"}
    body = json.dumps(fields | {"stream": stream})
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/images/generations", body, headers)
    while not (jobs := server.service.backlog.jobs) or not jobs[0].completed:
        time.sleep(0.01)
    connection.close()
    while server.service.backlog.jobs:
        time.sleep(0.01)
    assert jobs[0].settled
    assert jobs[0].completed < 1500


def test_a_busy_server_says_when_to_come_back(pipeline: Pipeline) -> None:
    from sdopt.serve.limits import Limits
    from sdopt.serve.service import PictureService
    from tests.serve.conftest import run_server
    from tests.serve.test_service import held

    service = PictureService({"shapes": pipeline}, Limits(max_waiting=1))
    for server in run_server(service):
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="no", max_retries=0) as client:
            with held(service):
                first = threading.Thread(
                    target=lambda: client.images.generate(prompt=PROMPT, extra_body=SMALL)
                )
                first.start()
                while not service.backlog.jobs:
                    time.sleep(0.01)
                with pytest.raises(openai.RateLimitError) as caught:
                    client.images.generate(prompt=PROMPT, extra_body=SMALL)
                with pytest.raises(urllib.error.HTTPError) as ready:
                    urllib.request.urlopen(f"{server.url}/health/ready")
                ready.value.close()
            first.join()
        assert ready.value.code == 503
        assert caught.value.response.headers["retry-after"] == "1"
        assert caught.value.body["message"] == "1 requests are waiting already. Retry in 1 s."
