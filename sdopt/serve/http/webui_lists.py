"""What the AUTOMATIC1111 API lists: schedulers, bundles, and what there is nothing of."""

from __future__ import annotations

import os
from typing import Annotated

from fastapi import APIRouter, Depends

from sdopt.engines.memory import available_bytes
from sdopt.runtime.enlarging import PICTURE_UPSCALERS
from sdopt.runtime.latent_upscale import LATENT_UPSCALERS
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


@router.get("/cmd-flags")
async def cmd_flags() -> dict[str, object]:
    """Return nothing: there are no such flags."""
    return {}


@router.get("/scripts")
async def scripts() -> dict[str, list[str]]:
    """Return no scripts: there are none."""
    return {"txt2img": [], "img2img": []}


@router.get("/upscalers")
async def upscalers() -> list[dict[str, object]]:
    """List what enlarges pictures between two passes."""
    return [
        {"name": name.capitalize(), "model_name": None, "model_path": None, "scale": None}
        for name in PICTURE_UPSCALERS
    ]


@router.get("/latent-upscale-modes")
async def latent_upscale_modes() -> list[dict[str, str]]:
    """List what enlarges latents between two passes, as the web UI writes their names."""
    return [{"name": _latent_title(name)} for name in LATENT_UPSCALERS]


@router.get("/memory")
async def memory() -> dict[str, object]:
    """Return how much memory there is, in bytes; of GPUs nothing is known here."""
    free, total = available_bytes(), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    ram = {"free": free, "used": total - free, "total": total}
    return {"ram": ram, "cuda": {"error": "not measured"}}


def _latent_title(name: str) -> str:
    """Turn ``latent_bicubic_antialiased`` into ``Latent (bicubic antialiased)``."""
    mode = name.removeprefix("latent").strip("_").replace("_exact", "-exact").replace("_", " ")
    return f"Latent ({mode})" if mode else "Latent"


@router.get("/script-info")
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
