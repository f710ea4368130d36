"""The OpenAI Images API."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from PIL import Image

from sdopt.errors import InvalidValueError
from sdopt.serve.http.following import follow
from sdopt.serve.http.forms import Fields, file, parsed, read_form, texts
from sdopt.serve.http.openai_answers import Wanted, answered
from sdopt.serve.http.openai_requests import EditsRequest, ImagesRequest, edit_form_schema
from sdopt.serve.http.state import State, state_of
from sdopt.serve.http.uploads import redrawn_where_clear, upright_picture

router = APIRouter(prefix="/v1", tags=["OpenAI Images API"])
_State = Annotated[State, Depends(state_of)]
_FILES = ("image", "image[]", "mask")
_FORM = {"content": {"multipart/form-data": {"schema": edit_form_schema()}}, "required": True}


@router.post("/images/generations")
async def generate(body: ImagesRequest, request: Request, state: _State) -> Response:
    """Make pictures from a prompt."""
    following = await follow(body, request, state)
    return await answered(following, _wanted(body, "image_generation"))


@router.post("/images/edits", openapi_extra={"requestBody": _FORM})
async def edit(request: Request, state: _State) -> Response:
    """Make pictures from a picture, or redraw a part of one."""
    fields = await read_form(request)
    body = parsed(EditsRequest, texts(fields, _FILES))
    body.check()
    opened = await state.apart(partial(_pictures, fields, state.service.limits.max_input_pixels))
    following = await follow(body.with_pictures(opened), request, state)
    return await answered(following, _wanted(body, "image_edit"))


@router.get("/models")
async def models(state: _State) -> dict[str, object]:
    """List the bundles that the server has."""
    return {"object": "list", "data": [_model(name, state) for name in state.service.models.names]}


@router.get("/models/{model}")
async def model(model: str, state: _State) -> dict[str, object]:
    """Describe one bundle: its defaults, and what a web page needs to know."""
    return _model(model, state)


def _model(name: str, state: State) -> dict[str, object]:
    source = state.service.models.source(name)
    manifest = source.bundle.manifest
    defaults = manifest.defaults
    size = source.fixed_size or defaults
    return {
        "id": name,
        "object": "model",
        "created": state.started_s,
        "owned_by": "sdopt",
        "loaded": name in state.service.models.loaded,
        "family": manifest.family,
        "size_multiple": manifest.vae_scale_factor,
        "fixed_size": source.fixed_size is not None,
        "defaults": {
            "width": size.width,
            "height": size.height,
            "num_inference_steps": defaults.num_inference_steps,
            "guidance_scale": defaults.guidance_scale,
        },
    }


def _pictures(fields: Fields, max_pixels: int) -> dict[str, Image.Image]:
    """Open the files of a form: what to start from, and where it may change."""
    image, mask = file(fields, "image", "image[]"), file(fields, "mask")
    if image is None:
        raise InvalidValueError("image", None, "required, as a file")
    pictures = {"image": upright_picture("image", image, max_pixels)}
    if mask is None:
        clear = redrawn_where_clear("image", image, max_pixels)
    elif (clear := redrawn_where_clear("mask", mask, max_pixels)) is None:
        sent, allowed = "a picture without transparency", "transparent where the picture may change"
        raise InvalidValueError("mask", sent, allowed)
    return pictures if clear is None else pictures | {"mask_image": clear}


def _wanted(body: ImagesRequest, prefix: Literal["image_generation", "image_edit"]) -> Wanted:
    return Wanted(prefix=prefix, stream=bool(body.stream), progress=bool(body.progress))
