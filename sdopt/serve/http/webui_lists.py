"""What the AUTOMATIC1111 API lists: schedulers, bundles, and what there is nothing of."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from sdopt.serve.http.state import State, state_of
from sdopt.serve.http.webui_requests import FACTS, SPACINGS

router = APIRouter(prefix="/sdapi/v1", tags=["AUTOMATIC1111 API"])
_State = Annotated[State, Depends(state_of)]


@router.get("/samplers")
async def samplers() -> list[dict[str, object]]:
    """List the schedulers, by their public names, with the names that people write."""
    return [
        {"name": fact.name, "aliases": [fact.class_name, *fact.other_names], "options": {}}
        for fact in FACTS.values()
    ]


@router.get("/schedulers")
async def schedulers() -> list[dict[str, object]]:
    """List the spacings of sigmas."""
    return [
        {"name": name, "label": name.capitalize(), "aliases": []}
        for name in ("automatic", *SPACINGS)
    ]


@router.get("/sd-models")
async def sd_models(state: _State) -> list[dict[str, object]]:
    """List the bundles that the server has."""
    return [
        {"title": name, "model_name": name, "hash": None, "sha256": None, "filename": name}
        for name in state.service.models.names
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
    models, name = state.service.models, state.default_model
    concepts = models.pipeline(name).concepts if name in models.loaded else ()
    return {"loaded": {concept.token: {} for concept in concepts}, "skipped": {}}
