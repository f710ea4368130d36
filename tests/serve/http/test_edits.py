# ruff: noqa: E501 - messages are written as they are read
"""Pictures from pictures over the OpenAI API, asked by the real ``openai`` client."""

from __future__ import annotations

import base64
import inspect
import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import openai
import pytest
from PIL import Image

from sdopt.pipeline import Pipeline
from sdopt.serve.http.fields import markdown_table
from sdopt.serve.http.openai_fields import OPENAI_EDIT_FIELDS, OPENAI_FIELDS
from sdopt.serve.http.openai_requests import EditsRequest
from tests.conftest import ROOT
from tests.serve.conftest import Running
from tests.serve.http.pictures import bad_files, clear_where, drawn, file_of, half_mask
from tests.serve.orders import pixels

PROMPT = "a yellow star on a green background"
SMALL: dict[str, Any] = {"num_inference_steps": 5, "seed": 7}


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def decoded(answer: Any) -> list[Image.Image]:
    return [Image.open(BytesIO(base64.b64decode(one.b64_json))) for one in answer.data]


def test_image_to_image_is_the_pipelines(client: openai.OpenAI, shapes: Pipeline) -> None:
    answer = client.images.edit(
        image=("name.png", file_of(drawn(75, 66))), prompt=PROMPT, n=2,
        extra_body=SMALL | {"strength": 0.5, "guidance_scale": 4.0, "scheduler": "euler_ancestral"},
    )  # fmt: skip
    alone = shapes(
        PROMPT, **SMALL, image=drawn(75, 66), strength=0.5, guidance_scale=4.0,
        scheduler="euler_ancestral", num_images_per_prompt=2,
    )  # fmt: skip
    assert [i.tobytes() for i in decoded(answer)] == [i.tobytes() for i in alone.images]
    assert answer.size == "72x64"


@pytest.mark.parametrize("padding", [None, 4])
def test_a_mask_is_transparent_where_the_picture_may_change(
    client: openai.OpenAI, shapes: Pipeline, padding: int | None
) -> None:
    extra = SMALL | ({} if padding is None else {"padding_mask_crop": padding, "mask_blur": 1.5})
    answer = client.images.edit(
        image=[file_of(drawn(), "WEBP", lossless=True)], mask=file_of(clear_where(half_mask())),
        prompt=PROMPT, size="64x64", extra_body=extra,  # type: ignore[call-overload]
    )  # fmt: skip
    alone = shapes(PROMPT, image=drawn(), mask_image=half_mask(), height=64, width=64, **extra)
    (made,) = decoded(answer)
    assert made.tobytes() == alone.images[0].tobytes()
    if padding is not None:  # what was not redrawn keeps its bits
        assert made.crop((0, 0, 24, 64)).tobytes() == drawn().crop((0, 0, 24, 64)).tobytes()


def test_without_a_mask_the_image_s_own_transparency_is_one(
    client: openai.OpenAI, shapes: Pipeline
) -> None:
    image = clear_where(half_mask(), drawn())
    answer = client.images.edit(image=file_of(image), prompt=PROMPT, extra_body=SMALL)
    alone = shapes(PROMPT, image=image, mask_image=half_mask(), **SMALL)
    assert decoded(answer)[0].tobytes() == alone.images[0].tobytes()


def test_the_settings_in_a_picture_make_it_again(client: openai.OpenAI, shapes: Pipeline) -> None:
    files = {"image": file_of(drawn()), "mask": file_of(clear_where(half_mask()))}
    first = client.images.edit(prompt=PROMPT, extra_body={"num_inference_steps": 5}, **files)
    image = decoded(first)[0]
    settings = json.loads(image.text["sdopt"])  # type: ignore[attr-defined]
    told = {name: settings.pop(name) for name in ("image_sha256", "mask_sha256")}
    assert all(len(sha256) == 64 for sha256 in told.values())
    for name in ("concepts", "model"):
        del settings[name]
    again = shapes(image=drawn(), mask_image=half_mask(), **settings)
    assert again.images[0].tobytes() == image.tobytes()
    assert {**again.settings(0), **told} == again.settings(0)
    fields = ("seed", "strength", "mask_blur", "scheduler", "guidance_scale", "num_inference_steps")
    extra = {name: settings[name] for name in fields}
    served = client.images.edit(prompt=PROMPT, extra_body=extra, **files)
    assert served.data[0].b64_json == first.data[0].b64_json


def test_a_stream_has_partial_images(client: openai.OpenAI, shapes: Pipeline) -> None:
    events = list(
        client.images.edit(
            image=file_of(drawn()), prompt=PROMPT, stream=True, partial_images=1,
            extra_body={"seed": 1, "num_inference_steps": 9, "progress": True},
        )
    )  # fmt: skip
    kinds = [event.type for event in events]
    assert kinds.count("image_edit.partial_image") == 1
    assert kinds.count("image_edit.progress") == 7  # 0.8 of 9 steps
    assert kinds[-1] == "image_edit.completed"
    alone = shapes(PROMPT, image=drawn(), seed=1, num_inference_steps=9).images[0]
    assert pixels(base64.b64decode(events[-1].b64_json)) == alone.tobytes()


REFUSED = [
    ({"mask": file_of(half_mask())}, "mask='a picture without transparency' is not allowed. mask is transparent where the picture may change."),
    ({"mask": file_of(clear_where(half_mask(72, 64)))}, "mask_image size='72x64' is not allowed. mask_image size is that of the image, 64x64."),
    ({"mask": file_of(clear_where(Image.new("L", (64, 64), 1)))}, "mask_image='all dark' is not allowed. mask_image is bright where the picture is redrawn."),
    ({"image": [file_of(drawn())] * 2}, "image='2 files' is not allowed. image is one file."),
    ({"image": b""}, "image='a file of 0 bytes' is not allowed. image is a whole PNG, JPEG or WebP file."),
    ({"image": file_of(drawn(48, 48))}, "image height=48 is smaller than 64, the smallest image height."),
    ({"image": file_of(drawn(1032, 1024))}, "size='1032x1024' is not allowed. size is at most 1048576 pixels in all on this server."),
    ({"extra_body": {"strength": 1.5}}, "strength=1.5 is not allowed. strength is a number above 0 and up to 1."),
    ({"extra_body": {"strength": "much"}}, "strength: Input should be a valid number, unable to parse string as a number."),
    ({"extra_body": {"mask_blur": 2}}, "mask_blur=2.0 is not allowed. mask_blur is not given where mask_image is not."),
    ({"input_fidelity": "high"}, "input_fidelity='high' is not allowed. input_fidelity is not supported by this server. Say strength instead."),
    ({"n": 11}, "n: Input should be less than or equal to 10."),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_what_is_refused(client: openai.OpenAI, options: dict[str, Any], message: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(**{"image": file_of(drawn()), "prompt": PROMPT} | options)
    assert caught.value.body["message"] == message


def test_bad_pictures_are_refused(client: openai.OpenAI) -> None:
    for bad in bad_files().values():
        for files in ({"image": bad}, {"mask": bad}):
            with pytest.raises(openai.BadRequestError):
                client.images.edit(**{"image": file_of(drawn()), "prompt": PROMPT} | files)


def test_a_picture_is_sent_and_never_named(server: Running) -> None:
    import requests

    def told(**sent: Any) -> str:
        answer = requests.post(f"{server.url}/v1/images/edits", timeout=60, **sent)
        assert answer.status_code == 400
        return str(answer.json()["error"]["message"])

    hint = "Send the picture itself, never its address."
    text = {"prompt": (None, "a"), "image": (None, "http://127.0.0.1/a.png")}
    assert told(files=text) == f"image='a text' is not allowed. image is a file. {hint}"
    assert told(files={"prompt": (None, "a")}) == (
        "image=None is not allowed. image is required, as a file."
    )
    assert told(json={"prompt": "a"}) == (
        "The body is 'application/json', and has to be multipart/form-data."
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert told(data=b"--y", headers=headers) == (
        "The form cannot be read: Invalid multipart data."
    )
    twice = [("prompt", (None, "a")), ("prompt", (None, "b")), ("image", ("a", file_of(drawn())))]
    assert told(files=twice) == "prompt='sent 2 times' is not allowed. prompt is sent once."
    assert told(files={"prompt": ("a.txt", b"a"), "image": ("a", file_of(drawn()))}) == (
        "prompt='a file' is not allowed. prompt is a text."
    )


def test_every_field_of_the_client_is_in_the_tables() -> None:
    own = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}
    images = openai.resources.Images
    for call, table in ((images.edit, OPENAI_EDIT_FIELDS), (images.generate, OPENAI_FIELDS)):
        sent = set(inspect.signature(call).parameters) - own
        assert len(sent) > 10
        assert sent <= {field.name for field in table}


@pytest.mark.parametrize("field", OPENAI_EDIT_FIELDS, ids=lambda field: field.name)
def test_the_table_says_what_the_code_does(client: openai.OpenAI, field: Any) -> None:
    if field.verdict == "honoured":
        assert field.name in {*EditsRequest.model_fields, "image", "mask"}
        return
    call: dict[str, Any] = {"image": file_of(drawn()), "prompt": PROMPT}
    for value in field.neutral or ("anything",):
        extra = {"num_inference_steps": 2, field.name: value}
        if field.verdict == "refused" and not field.neutral:
            with pytest.raises(openai.BadRequestError):
                client.images.edit(**call, extra_body=extra)
        else:
            client.images.edit(**call, extra_body=extra)


def test_the_published_table_is_the_code_s() -> None:
    assert markdown_table(OPENAI_EDIT_FIELDS) in (ROOT / "docs" / "api-openai.md").read_text()
