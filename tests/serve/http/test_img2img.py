# ruff: noqa: E501 - messages are written as they are read
"""Pictures from pictures over the AUTOMATIC1111 API, asked by the real ``webuiapi`` client."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
import requests
import webuiapi

from sdopt.pipeline import Pipeline
from sdopt.serve.http.fields import markdown_table
from sdopt.serve.http.uploads import filled_from_around
from sdopt.serve.http.webui_fields import IMG2IMG_FIELDS
from sdopt.serve.http.webui_img2img import Img2ImgRequest
from tests.conftest import ROOT
from tests.serve.conftest import Running
from tests.serve.http.pictures import bad_files, base64_of, drawn, file_of, half_mask

PROMPT = "a yellow star on a green background"
SMALL: dict[str, Any] = {"prompt": PROMPT, "steps": 5, "seed": 7, "width": 64, "height": 64}
ALONE: dict[str, Any] = {
    "prompt": PROMPT, "num_inference_steps": 5, "seed": 7, "width": 64, "height": 64,
    "guidance_scale": 7.0, "scheduler": "euler_ancestral",
}  # fmt: skip


@pytest.fixture
def client(server: Running) -> webuiapi.WebUIApi:
    return webuiapi.WebUIApi(baseurl=f"{server.url}/sdapi/v1")


def test_pictures_are_the_pipelines(client: webuiapi.WebUIApi, shapes: Pipeline) -> None:
    answer = client.img2img([drawn(100, 90)], **SMALL, denoising_strength=0.6, batch_size=2)
    alone = shapes(**ALONE, image=drawn(100, 90), strength=0.6, num_images_per_prompt=2)
    assert [i.tobytes() for i in answer.images] == [i.tobytes() for i in alone.images]
    assert "init_images" not in answer.parameters
    plain = client.img2img([drawn()], **SMALL, include_init_images=True)
    assert plain.parameters["init_images"]
    default = shapes(**ALONE, image=drawn(), strength=0.75)
    assert plain.images[0].tobytes() == default.images[0].tobytes()


@pytest.mark.parametrize("fill", [0, 1])
@pytest.mark.parametrize("whole", [False, True])
def test_inpainting(client: webuiapi.WebUIApi, shapes: Pipeline, fill: int, whole: bool) -> None:
    image, mask = drawn(96, 80), half_mask(96, 80)
    answer = client.img2img(
        [image], mask_image=mask, **SMALL, denoising_strength=0.7, mask_blur=0,
        inpainting_fill=fill, inpaint_full_res=not whole, inpaint_full_res_padding=8,
        inpainting_mask_invert=1,
    )  # fmt: skip
    padding = None if whole else 8
    given = {"mask_image": mask, "mask_invert": True, "padding_mask_crop": padding}
    start = filled_from_around(image, half_mask(96, 80).point(lambda v: 255 - v))
    alone = shapes(**ALONE, **given, image=image if fill else start, strength=0.7).images[0]
    assert answer.images[0].tobytes() == alone.tobytes()
    other = shapes(**ALONE, **given, image=start if fill else image, strength=0.7).images[0]
    assert alone.tobytes() != other.tobytes()


def test_by_default_the_masked_area_alone_is_redrawn_from_the_colours_around_it(
    client: webuiapi.WebUIApi, shapes: Pipeline
) -> None:
    image, mask = drawn(96, 80), half_mask(96, 80)
    answer = client.img2img([image], mask_image=mask, **SMALL)
    assert answer.images[0].crop((0, 0, 32, 80)).tobytes() == image.crop((0, 0, 32, 80)).tobytes()
    assert answer.images[0].size == image.size


def test_the_texts_in_a_picture_make_it_again(client: webuiapi.WebUIApi) -> None:
    sent = {"images": [drawn()], "mask_image": half_mask()}
    first = client.img2img(
        **sent, prompt=PROMPT, steps=5, width=64, height=64, seed=-1, denoising_strength=0.61,
        mask_blur=2, inpaint_full_res=False,
    )  # fmt: skip
    text = first.images[0].text["parameters"]
    assert client.png_info(first.images[0]).info == text
    assert first.info["infotexts"] == [text]
    told = dict(fact.split(": ") for fact in text.split("\n")[1].split(", "))
    assert (told["Denoising strength"], told["Mask blur"]) == ("0.61", "2.0")
    assert (told["Masked content"], told["Masked area padding"]) == ("fill", "None")
    again = client.img2img(
        **sent, prompt=PROMPT, steps=int(told["Steps"]), width=64, height=64,
        seed=int(told["Seed"]), denoising_strength=float(told["Denoising strength"]),
        mask_blur=float(told["Mask blur"]), inpaint_full_res=False, sampler_name=told["Sampler"],
        cfg_scale=float(told["CFG scale"]),
    )  # fmt: skip
    assert again.images[0].tobytes() == first.images[0].tobytes()


REFUSED = [
    ({"denoising_strength": 0}, "strength=0.0 is not allowed. strength is a number above 0 and up to 1."),
    ({"resize_mode": 1}, "resize_mode=1 is not allowed. resize_mode is 0. The picture is stretched to width × height."),
    ({"inpainting_fill": 2}, "inpainting_fill=2 is not allowed. inpainting_fill is 0, the colours around the mask, or 1, the picture as it is."),
    ({"mask_image": half_mask(72, 64)}, "mask_image size='72x64' is not allowed. mask_image size is that of the image, 64x64."),
    ({"mask_blur": 300}, "mask_blur=300.0 is not allowed. mask_blur is a number from 0 to 256."),
    ({"inpaint_full_res_padding": -1}, "padding_mask_crop=-1 is not allowed. padding_mask_crop is a whole number of at least 0."),
    ({"images": []}, "init_images: List should have at least 1 item after validation, not 0."),
    ({"initial_noise_multiplier": 1.1}, "initial_noise_multiplier=1.1 is not allowed. initial_noise_multiplier is 1. Noise is what the scheduler says."),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_what_is_refused(client: webuiapi.WebUIApi, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        client.img2img(**SMALL | {"images": [drawn()], "mask_image": half_mask()} | options)
    status, text = caught.value.args
    assert (status, json.loads(text)["detail"]) == (400, message)


def test_bad_pictures_are_refused(server: Running) -> None:
    url, good = f"{server.url}/sdapi/v1", base64_of(file_of(drawn()))
    for bad in (*map(base64_of, bad_files().values()), "http://127.0.0.1/a.png"):
        for path, body in (
            ("img2img", {"init_images": [bad]}),
            ("img2img", {"init_images": [good], "mask": bad}),
            ("png-info", {"image": bad}),
        ):
            answer = requests.post(f"{url}/{path}", json=body, timeout=60)
            assert answer.status_code == 400


def test_every_field_of_the_client_is_in_the_table() -> None:
    own = {  # handled by the client itself, never sent under these names
        "self", "images", "mask_image", "controlnet_units", "adetailer", "animatediff", "roop",
        "reactor", "sag", "use_deprecated_controlnet", "use_async",
    }  # fmt: skip
    sent = set(inspect.signature(webuiapi.WebUIApi.img2img).parameters) - own
    assert sent <= {field.name for field in IMG2IMG_FIELDS}
    assert len(sent) > 30


@pytest.mark.parametrize("field", IMG2IMG_FIELDS, ids=lambda field: field.name)
def test_the_table_says_what_the_code_does(server: Running, field: Any) -> None:
    url = f"{server.url}/sdapi/v1/img2img"
    body = SMALL | {"steps": 2, "init_images": [base64_of(file_of(drawn()))]}
    if field.verdict == "honoured":
        assert field.name in Img2ImgRequest.model_fields
        return
    for value in field.neutral or ("anything",):
        answer = requests.post(url, json=body | {field.name: value}, timeout=60)
        refused = field.verdict == "refused" and not field.neutral
        assert answer.status_code == (400 if refused else 200), answer.text
    if field.verdict == "refused" and field.name != "disable_extra_networks":
        assert requests.post(url, json=body | {field.name: 5}, timeout=60).status_code == 400


def test_the_published_table_is_the_code_s() -> None:
    assert markdown_table(IMG2IMG_FIELDS) in (ROOT / "docs" / "api-webui.md").read_text()
