# ruff: noqa: E501 - messages are written as they are read
"""The AUTOMATIC1111 API, asked by the real ``webuiapi`` client over a real socket."""

from __future__ import annotations

import json
import threading
import time
from base64 import b64decode
from io import BytesIO
from typing import Any

import pytest
import webuiapi
from PIL import Image

from sdopt.pipeline import Pipeline
from sdopt.serve.http.fields import markdown_table
from sdopt.serve.http.webui_fields import TXT2IMG_FIELDS
from sdopt.serve.http.webui_txt2img import Txt2ImgRequest
from tests.conftest import ROOT
from tests.serve.conftest import Running

PROMPT = "a yellow star on a green background"
SMALL: dict[str, Any] = {"prompt": PROMPT, "steps": 3, "seed": 7, "width": 64, "height": 64}


@pytest.fixture
def client(server: Running) -> webuiapi.WebUIApi:
    return webuiapi.WebUIApi(baseurl=f"{server.url}/sdapi/v1")


ALONE: dict[str, Any] = {
    "prompt": PROMPT, "num_inference_steps": 3, "seed": 7, "width": 64, "height": 64,
    "guidance_scale": 7.0, "scheduler": "euler_ancestral",
}  # fmt: skip


def test_pictures_are_the_pipelines(client: webuiapi.WebUIApi, shapes: Pipeline) -> None:
    answer = client.txt2img(**SMALL, negative_prompt="a ring", cfg_scale=4.0, batch_size=2)
    alone = shapes(
        PROMPT, num_inference_steps=3, seed=7, width=64, height=64, negative_prompt="a ring",
        guidance_scale=4.0, scheduler="euler_ancestral", num_images_per_prompt=2,
    )  # fmt: skip
    assert [i.tobytes() for i in answer.images] == [i.tobytes() for i in alone.images]
    assert answer.info["all_seeds"] == [7, 8]


def test_the_text_in_a_picture_makes_it_again(client: webuiapi.WebUIApi) -> None:
    first = client.txt2img(**SMALL | {"seed": -1}, sampler_name="DDIM", cfg_scale=4.3, eta=0.5)
    text = first.images[0].text["parameters"]
    prompt, facts = text.split("\n")
    told = dict(fact.split(": ") for fact in facts.split(", "))
    width, height = told["Size"].split("x")
    again = client.txt2img(
        prompt=prompt,
        steps=int(told["Steps"]),
        sampler_name=told["Sampler"],
        cfg_scale=float(told["CFG scale"]),
        seed=int(told["Seed"]),
        width=int(width),
        height=int(height),
        eta=float(told["Eta"]),
        override_settings={
            "sd_model_checkpoint": told["Model"],
            "CLIP_stop_at_last_layers": int(told["Clip skip"]),
        },
    )
    assert again.images[0].tobytes() == first.images[0].tobytes()
    assert first.info["infotexts"] == [text]


def test_a_spacing_of_sigmas_belongs_to_the_sampler(
    client: webuiapi.WebUIApi, shapes: Pipeline
) -> None:
    answer = client.txt2img(**SMALL, sampler_name="DPM++ 2M", scheduler="Karras")
    alone = shapes(
        PROMPT, num_inference_steps=3, seed=7, width=64, height=64, guidance_scale=7.0,
        scheduler="dpmpp_2m_karras",
    )  # fmt: skip
    assert answer.images[0].tobytes() == alone.images[0].tobytes()


def test_hires_fix(client: webuiapi.WebUIApi, shapes: Pipeline) -> None:
    upscaler = webuiapi.HiResUpscaler.LatentBicubic
    given = {"enable_hr": True, "hr_scale": 1.5, "hr_second_pass_steps": 2}
    answer = client.txt2img(**SMALL | given, hr_upscaler=upscaler, denoising_strength=0.6)
    alone = shapes(
        **ALONE, hr_scale=1.5, hr_upscaler="latent_bicubic", hr_strength=0.6, hr_second_pass_steps=2
    ).images[0]
    assert answer.images[0].size == (96, 96)
    assert answer.images[0].tobytes() == alone.tobytes()
    assert (
        "Denoising strength: 0.6, Hires upscale: 1.5, Hires steps: 2, "
        "Hires upscaler: latent_bicubic"
    ) in answer.images[0].text["parameters"]
    plain = client.txt2img(**SMALL, hr_prompt="without enable_hr it has no effect")
    assert plain.images[0].size == (64, 64)


def test_variations_and_churn(client: webuiapi.WebUIApi, shapes: Pipeline) -> None:
    varied = client.txt2img(**SMALL, subseed=5, subseed_strength=0.25, batch_size=2)
    alone = shapes(**ALONE, subseed=5, subseed_strength=0.25, num_images_per_prompt=2)
    assert [i.tobytes() for i in varied.images] == [i.tobytes() for i in alone.images]
    assert "Variation seed: 6, Variation seed strength: 0.25" in varied.info["infotexts"][1]
    churned = client.txt2img(**SMALL, sampler_name="Euler", s_churn=2, s_tmin=1, s_noise=1.1)
    given = {"s_churn": 2.0, "s_tmin": 1.0, "s_noise": 1.1}
    alone = shapes(**ALONE | {"scheduler": "euler"}, **given)  # s_tmax=0 is no limit
    assert churned.images[0].tobytes() == alone.images[0].tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"enable_hr": True, "hr_resize_x": 96}, "hr_resize_x=96 is not allowed. hr_resize_x is 0. Say hr_scale."),
        ({"enable_hr": True, "hr_prompt": "x"}, "hr_prompt='x' is not allowed. hr_prompt is ''. Both passes have the same."),
        ({"enable_hr": True, "hr_scale": 9}, "hr_scale=9.0 is not allowed. hr_scale is a number above 1 and up to 8."),
        ({"enable_hr": True, "width": 8192}, "size of the second pass='16384x128' is not allowed. size of the second pass is at most 1048576 pixels in all on this server."),
        ({"s_churn": 1}, "s_churn=1.0 is not allowed. s_churn is 0 for euler_ancestral. It has an effect for euler alone."),
        ({"s_noise": 1.1}, "s_noise=1.1 is not allowed. s_noise is not given where s_churn is not."),
        ({"subseed_strength": 1.5}, "subseed_strength=1.5 is not allowed. subseed_strength is a number from 0 to 1."),
        ({"restore_faces": True}, "restore_faces=True is not allowed. restore_faces is False. There is no face restoration."),
        ({"styles": ["x"]}, "styles=['x'] is not allowed. styles is []. Write the style into the prompt."),
        ({"eta": 0.5}, "eta=0.5 is not allowed. eta is 0 or 1 for euler_ancestral, which takes none."),
        ({"scheduler": "turbo"}, "scheduler='turbo' is not allowed. scheduler is automatic, karras, exponential or beta."),
        ({"override_settings": {"eta_ddim": 1}}, "override_settings.eta_ddim='1' is not allowed. override_settings.eta_ddim is a model's name as sd_model_checkpoint, or CLIP_stop_at_last_layers from 1."),
        ({"width": 65}, "width=65 is not a multiple of 8. The nearest widths are 64 and 72."),
    ],
)  # fmt: skip
def test_what_is_refused(client: webuiapi.WebUIApi, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        client.txt2img(**SMALL | options)
    status, text = caught.value.args
    assert (status, json.loads(text)["detail"]) == (400, message)


@pytest.mark.parametrize("field", TXT2IMG_FIELDS, ids=lambda field: field.name)
def test_the_table_says_what_the_code_does(server: Running, field: Any) -> None:
    import requests

    url, tiny = f"{server.url}/sdapi/v1/txt2img", SMALL | {"steps": 1}
    if field.verdict == "honoured":
        assert field.name in Txt2ImgRequest.model_fields
        return
    with_it = {} if field.only_with is None else {field.only_with: True}
    for value in field.neutral or ("anything",):
        answer = requests.post(url, json=tiny | with_it | {field.name: value}, timeout=60)
        assert answer.status_code == (
            400 if field.verdict == "refused" and not field.neutral else 200
        )
    if field.verdict == "refused" and field.name != "disable_extra_networks":
        odd = tiny | {field.name: 5}
        assert requests.post(url, json=odd | with_it, timeout=60).status_code == 400
        if field.only_with is not None:
            assert requests.post(url, json=odd, timeout=60).status_code == 200


def test_every_field_of_the_client_is_in_the_table() -> None:
    import inspect

    sent = set(inspect.signature(webuiapi.WebUIApi.txt2img).parameters) & {
        *(field.name for field in TXT2IMG_FIELDS)
    }
    known = {field.name for field in TXT2IMG_FIELDS}
    own = {  # handled by the client itself, never sent
        "self", "controlnet_units", "adetailer", "animatediff", "roop", "reactor", "sag",
        "use_deprecated_controlnet", "use_async",
    }  # fmt: skip
    assert set(inspect.signature(webuiapi.WebUIApi.txt2img).parameters) - own <= known
    assert sent


def test_the_published_table_is_the_code_s() -> None:
    assert markdown_table(TXT2IMG_FIELDS) in (ROOT / "docs" / "api-webui.md").read_text()


def test_progress_and_interrupt(client: webuiapi.WebUIApi) -> None:
    assert client.get_progress()["progress"] == 0
    failures: list[BaseException] = []

    def make() -> None:
        try:
            client.txt2img(**SMALL | {"steps": 150})
        except RuntimeError as error:
            failures.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    while (progress := client.get_progress())["current_image"] is None:
        time.sleep(0.01)
    assert 0 < progress["progress"] < 1
    assert Image.open(BytesIO(b64decode(progress["current_image"]))).size == (64, 64)
    skipped = client.custom_get("progress?skip_current_image=true", baseurl=True)
    assert skipped["current_image"] is None
    client.interrupt()
    thread.join()
    assert failures[0].args[0] == 499
    assert client.get_progress()["progress"] == 0


def test_lists(client: webuiapi.WebUIApi) -> None:
    samplers = {one["name"] for one in client.get_samplers()}
    assert {"euler_ancestral", "dpmpp_2m", "ddim"} <= samplers
    assert [one["name"] for one in client.get_schedulers()][:2] == ["automatic", "karras"]
    assert [one["model_name"] for one in client.get_sd_models()] == ["shapes"]
    assert [one["name"] for one in client.get_upscalers()] == ["Lanczos", "Nearest"]
    modes = [one["name"] for one in client.get_latent_upscale_modes()]
    assert set(modes) == {one.value for one in webuiapi.HiResUpscaler if "Latent" in one.value}
    ram = client.get_memory()["ram"]
    assert 0 < ram["free"] < ram["total"] == ram["free"] + ram["used"]
    assert client.get_scripts() == {"txt2img": [], "img2img": []}
    assert client.get_loras() == []
    assert client.get_embeddings() == {"loaded": {}, "skipped": {}}
    assert client.get_cmd_flags() == {}


def test_options_hold_for_later_requests(client: webuiapi.WebUIApi, shapes: Pipeline) -> None:
    assert client.get_options() == {"sd_model_checkpoint": "shapes", "CLIP_stop_at_last_layers": 1}
    client.util_set_model("shape")  # the nearest name
    client.set_options({"CLIP_stop_at_last_layers": 2})
    try:
        assert client.get_options()["CLIP_stop_at_last_layers"] == 2
        skipped = client.txt2img(**SMALL).images[0]
        whole = client.txt2img(**SMALL, override_settings={"CLIP_stop_at_last_layers": 1})
    finally:
        client.set_options({"CLIP_stop_at_last_layers": 1})
    assert skipped.tobytes() == shapes(**ALONE, clip_skip=1).images[0].tobytes()
    assert whole.images[0].tobytes() == shapes(**ALONE).images[0].tobytes()
    for options, told in (
        ({"sd_vae": "x"}, "sd_vae='x' is not allowed."),
        ({"sd_model_checkpoint": "none"}, "Unknown model 'none'."),
    ):
        assert client.set_options(options)["detail"].startswith(told)
