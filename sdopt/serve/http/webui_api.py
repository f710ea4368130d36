"""The AUTOMATIC1111 API, for text to image."""

from __future__ import annotations

import base64
import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Value

from sdopt.errors import InvalidValueError
from sdopt.runtime.schedulers import scheduler_facts
from sdopt.serve.http.fields import refuse_the_unsupported
from sdopt.serve.http.following import Following
from sdopt.serve.http.state import State, state_of
from sdopt.serve.http.webui_fields import WEBUI_FIELDS
from sdopt.serve.infotext import infotext
from sdopt.serve.job import Finished, Job, Order

router = APIRouter(prefix="/sdapi/v1", tags=["AUTOMATIC1111 API"])
_State = Annotated[State, Depends(state_of)]
_SPACINGS = ("karras", "exponential", "beta")
_FACTS = {fact.name: fact for fact in scheduler_facts()}


class Txt2ImgRequest(BaseModel):
    """The honoured fields; docs/api-webui.md says what becomes of all others."""

    model_config = ConfigDict(extra="allow", strict=True)

    prompt: str = ""
    negative_prompt: str | None = None
    seed: int | None = None
    batch_size: Annotated[int, Value(ge=1, le=100)] | None = None
    n_iter: Annotated[int, Value(ge=1, le=100)] | None = None
    steps: int | None = None
    cfg_scale: float | None = None
    width: int | None = None
    height: int | None = None
    sampler_name: str | None = None
    sampler_index: str | None = None
    scheduler: str | None = None
    eta: float | None = None
    send_images: bool | None = None
    override_settings: dict[str, Any] | None = None

    async def order(self, state: State) -> Order:
        """Turn the request into an order.

        Raises:
            RequestError: It cannot be carried out as it stands.
        """
        refuse_the_unsupported(self.model_dump(exclude_unset=True), WEBUI_FIELDS)
        model, clip_skip = _overrides(self.override_settings or {}, state)
        cfg_scale = 7.0 if self.cfg_scale is None else self.cfg_scale
        options: dict[str, Any] = {
            "prompt": self.prompt,
            "negative_prompt": self.negative_prompt if cfg_scale > 1 else None,
            "seed": None if self.seed == -1 else self.seed,
            "num_images_per_prompt": (self.batch_size or 1) * (self.n_iter or 1),
            "num_inference_steps": 50 if self.steps is None else self.steps,
            "guidance_scale": cfg_scale,
            "width": 512 if self.width is None else self.width,
            "height": 512 if self.height is None else self.height,
            "scheduler": self._scheduler(),
            "clip_skip": clip_skip,
        }
        request = await state.request(model, options)
        if (eta := self._eta(request.plan.name)) is not None:
            seeded = options | {"eta": eta, "seed": request.seed}
            request = await state.request(model, seeded)
        return Order(model=model, request=request)

    def _scheduler(self) -> str | None:
        sampler = self.sampler_name or self.sampler_index
        spacing = (self.scheduler or "automatic").casefold()
        if spacing == "automatic":
            return sampler
        if spacing not in _SPACINGS:
            allowed = "automatic, karras, exponential or beta"
            raise InvalidValueError("scheduler", self.scheduler, allowed)
        if sampler is None:
            hint = "The spacing of sigmas belongs to a sampler"
            raise InvalidValueError("sampler_name", None, "required where scheduler is given", hint)
        return f"{sampler} {spacing}"

    def _eta(self, scheduler: str) -> float | None:
        """Return the eta to use, where the scheduler takes one."""
        fact = _FACTS.get(scheduler) or _FACTS.get(scheduler.rpartition("_")[0])
        if fact is not None and fact.noise == "with eta":
            return self.eta
        if self.eta not in (None, 0, 1):
            raise InvalidValueError("eta", self.eta, f"0 or 1 for {scheduler}, which takes none")
        return None


@router.post("/txt2img")
async def txt2img(body: Txt2ImgRequest, request: Request, state: _State) -> dict[str, object]:
    """Make pictures from a prompt."""
    order = await body.order(state)
    following = Following(state.service, order, request)
    state.web_ui_jobs.append(following.job)
    try:
        finished = await following.finished()
    finally:
        state.web_ui_jobs.remove(following.job)
    images = [base64.b64encode(picture.data).decode() for picture in finished.pictures]
    return {
        "images": [] if body.send_images is False else images,
        "parameters": body.model_dump(exclude_unset=True),
        "info": json.dumps(_info(finished)),
    }


@router.get("/progress")
async def progress(state: _State) -> dict[str, object]:
    """Say how far the oldest job of this API is."""
    job = state.web_ui_jobs[0] if state.web_ui_jobs else None
    total = job.order.evaluations if job else 0
    done = job.completed if job else 0
    seconds = state.service.backlog.seconds if job else 0.0
    return {
        "progress": done / total if total else 0.0,
        "eta_relative": seconds,
        "state": _progress_state(job, len(state.web_ui_jobs)),
        "current_image": None,
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
    if state.web_ui_jobs:
        state.service.cancel(state.web_ui_jobs[0])
    return {}


@router.get("/samplers")
async def samplers() -> list[dict[str, object]]:
    """List the schedulers, by their public names, with the names that people write."""
    return [
        {"name": fact.name, "aliases": [fact.class_name, *fact.other_names], "options": {}}
        for fact in _FACTS.values()
    ]


@router.get("/schedulers")
async def schedulers() -> list[dict[str, object]]:
    """List the spacings of sigmas."""
    return [
        {"name": name, "label": name.capitalize(), "aliases": []}
        for name in ("automatic", *_SPACINGS)
    ]


@router.get("/sd-models")
async def sd_models(state: _State) -> list[dict[str, object]]:
    """List the bundles that the server has."""
    return [
        {"title": name, "model_name": name, "hash": None, "sha256": None, "filename": name}
        for name in state.service.models
    ]


@router.get("/options")
async def options(state: _State) -> dict[str, object]:
    """Return the settings that mean something here."""
    return {"sd_model_checkpoint": state.default_model, "CLIP_stop_at_last_layers": 1}


@router.get("/cmd-flags")
async def cmd_flags() -> dict[str, object]:
    """Return nothing: there are no such flags."""
    return {}


@router.get("/scripts")
async def scripts() -> dict[str, list[str]]:
    """Return no scripts: there are none."""
    return {"txt2img": [], "img2img": []}


@router.get("/script-info")
@router.get("/upscalers")
@router.get("/sd-vae")
@router.get("/loras")
async def nothing() -> list[object]:
    """Return an empty list: there is nothing of the kind."""
    return []


@router.get("/embeddings")
async def embeddings(state: _State) -> dict[str, object]:
    """List the concepts of textual inversion that prompts can name."""
    concepts = state.pipeline(state.default_model).concepts
    return {"loaded": {concept.token: {} for concept in concepts}, "skipped": {}}


def _overrides(settings: dict[str, Any], state: State) -> tuple[str, int]:
    model, clip_skip = state.default_model, 0
    for name, value in settings.items():
        if name == "sd_model_checkpoint" and isinstance(value, str):
            model = value
        elif name == "CLIP_stop_at_last_layers" and isinstance(value, int) and value >= 1:
            clip_skip = value - 1
        else:
            allowed = "a model's name as sd_model_checkpoint, or CLIP_stop_at_last_layers from 1"
            raise InvalidValueError(f"override_settings.{name[:40]}", str(value)[:40], allowed)
    return model, clip_skip


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
