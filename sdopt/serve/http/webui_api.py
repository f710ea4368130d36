"""The AUTOMATIC1111 API: text to image, image to image, and what is said of the running job."""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from sdopt.serve.http.following import follow
from sdopt.serve.http.state import State, state_of
from sdopt.serve.http.uploads import decode_base64, open_upload
from sdopt.serve.http.webui_img2img import Img2ImgRequest
from sdopt.serve.http.webui_requests import PngInfoRequest, WebUiRequest
from sdopt.serve.http.webui_txt2img import Txt2ImgRequest
from sdopt.serve.infotext import infotext
from sdopt.serve.job import Finished, Job

router = APIRouter(prefix="/sdapi/v1", tags=["AUTOMATIC1111 API"])
_State = Annotated[State, Depends(state_of)]


@router.post("/txt2img")
async def txt2img(body: Txt2ImgRequest, request: Request, state: _State) -> dict[str, object]:
    """Make pictures from a prompt."""
    return await _made(body, request, state)


@router.post("/img2img")
async def img2img(body: Img2ImgRequest, request: Request, state: _State) -> dict[str, object]:
    """Make pictures from a picture, or redraw a part of one."""
    return await _made(body, request, state)


async def _made(body: WebUiRequest, request: Request, state: State) -> dict[str, object]:
    following = await follow(body, request, state)
    job, web_ui = following.job, state.web_ui
    web_ui.previews[job] = None
    try:
        finished = await following.finished(partial(web_ui.hear, job))
    finally:
        del web_ui.previews[job]
    images = [base64.b64encode(picture.data).decode() for picture in finished.pictures]
    return {
        "images": [] if body.send_images is False else images,
        "parameters": body.echo(),
        "info": json.dumps(_info(finished)),
    }


@router.post("/png-info")
async def png_info(body: PngInfoRequest, state: _State) -> dict[str, object]:
    """Return the text ``parameters`` that a picture carries, and its other texts."""
    data, most = decode_base64("image", body.image), state.service.limits.max_input_pixels
    image = await state.apart(partial(open_upload, "image", data, most))
    found = {name: text for name, text in image.info.items() if isinstance(text, str)}
    return {"info": found.pop("parameters", ""), "items": found, "parameters": {}}


@router.get("/progress")
async def progress(state: _State, skip_current_image: bool = False) -> dict[str, object]:
    """Say how far the oldest job of this API is, with its newest preview."""
    previews = state.web_ui.previews
    job = state.web_ui.running
    total = job.order.evaluations if job else 0
    done = job.completed if job else 0
    seconds = state.service.backlog.seconds if job else 0.0
    png = None if job is None or skip_current_image else previews[job]
    return {
        "progress": done / total if total else 0.0,
        "eta_relative": seconds,
        "state": _progress_state(job, len(previews)),
        "current_image": None if png is None else base64.b64encode(png).decode(),
        "textinfo": None,
    }


def _progress_state(job: Job | None, jobs: int) -> dict[str, object]:
    return {
        "skipped": False,
        "interrupted": False,
        "job": job.id if job else "",
        "job_count": jobs,
        "job_no": 0,
        "sampling_step": job.completed if job else 0,
        "sampling_steps": job.order.evaluations if job else 0,
    }


@router.post("/interrupt")
@router.post("/skip")
async def interrupt(state: _State) -> dict[str, object]:
    """Cancel the oldest job of this API; its sender is told so."""
    if (job := state.web_ui.running) is not None:
        state.service.cancel(job)
    return {}


@router.get("/options")
async def options(state: _State) -> dict[str, object]:
    """Return the options that mean something here."""
    options = state.web_ui.options
    return {
        "sd_model_checkpoint": options.model or state.default_model,
        "CLIP_stop_at_last_layers": options.clip_skip + 1,
    }


@router.post("/options")
async def set_options(settings: dict[str, Any], state: _State) -> dict[str, object]:
    """Choose what later requests of this API mean where they do not say."""
    chosen = state.web_ui.options.replaced(settings)
    if chosen.model is not None:
        state.service.models.source(chosen.model)
    state.web_ui.options = chosen
    return {}


def _info(finished: Finished) -> dict[str, object]:
    each = [picture.settings for picture in finished.pictures]
    first = each[0]
    return {
        "prompt": first["prompt"],
        "all_prompts": [one["prompt"] for one in each],
        "negative_prompt": first["negative_prompt"],
        "seed": first["seed"],
        "all_seeds": [one["seed"] for one in each],
        "width": first["width"],
        "height": first["height"],
        "sampler_name": first["scheduler"],
        "cfg_scale": first["guidance_scale"],
        "steps": first["num_inference_steps"],
        "batch_size": len(each),
        "sd_model_name": first["model"],
        "infotexts": [infotext(one) for one in each],
        "index_of_first_image": 0,
    }
