"""The bodies of the OpenAI Images API, and the orders that they stand for."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, PrivateAttr
from pydantic import Field as Value

from sdopt.errors import InvalidValueError
from sdopt.pipeline import Pipeline
from sdopt.serve.http.fields import Field, refuse_the_unsupported
from sdopt.serve.http.openai_fields import OPENAI_EDIT_FIELDS, OPENAI_FIELDS
from sdopt.serve.http.state import State
from sdopt.serve.job import Order
from sdopt.serve.picture_files import OutputFormat, PictureFormat

_OPTIONS = (
    "prompt",
    "negative_prompt",
    "seed",
    "num_inference_steps",
    "guidance_scale",
    "scheduler",
    "eta",
    "clip_skip",
)


class ImagesRequest(BaseModel):
    """A request for pictures; docs/api-openai.md says what each field does."""

    model_config = ConfigDict(extra="allow", strict=True)
    known: ClassVar[tuple[Field, ...]] = OPENAI_FIELDS

    prompt: str
    model: str | None = None
    n: Annotated[int, Value(ge=1, le=10)] | None = None
    size: str | None = None
    response_format: Literal["b64_json", "url"] | None = None
    output_format: OutputFormat | None = None
    output_compression: Annotated[int, Value(ge=0, le=100)] | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Value(ge=0, le=3)] | None = None
    seed: int | None = None
    negative_prompt: str | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    scheduler: str | None = None
    eta: float | None = None
    clip_skip: int | None = None
    progress: bool | None = None

    def check(self) -> None:
        """Refuse what is not supported, and what makes no sense together.

        Raises:
            RequestError: The message says what.
        """
        refuse_the_unsupported(self.model_dump(exclude_unset=True), self.known)
        if self.response_format == "url":
            raise InvalidValueError("response_format", "url", "'b64_json'", "No files are kept")
        for name in ("partial_images", "progress"):
            if getattr(self, name) and not self.stream:
                value = getattr(self, name)
                raise InvalidValueError(name, value, "for streams only", 'Send "stream": true')
        if self.output_compression is not None and self.output_format in (None, "png"):
            raise InvalidValueError(
                "output_compression", self.output_compression, "for jpeg and webp only"
            )

    def model_of(self, state: State) -> str:
        """Return the name of the bundle that is asked for."""
        return self.model if self.model is not None else state.default_model

    async def order(self, state: State, model: str, pipeline: Pipeline) -> Order:
        """Turn the request into an order.

        Raises:
            RequestError: It cannot be carried out as it stands.
        """
        options: dict[str, Any] = {name: getattr(self, name) for name in _OPTIONS}
        options |= _size(self.size) | {"num_images_per_prompt": self.n} | self._image_options()
        quality = 100 if self.output_compression is None else self.output_compression
        return Order(
            model=model,
            request=await state.request(pipeline, options),
            format=PictureFormat(kind=self.output_format or "png", quality=quality),
            partial_images=self.partial_images or 0,
        )

    def _image_options(self) -> dict[str, Any]:
        """Return what is said of a picture to start from."""
        return {}


class EditsRequest(ImagesRequest):
    """The texts of a form that asks for a picture to be changed."""

    model_config = ConfigDict(extra="allow", strict=False)
    known: ClassVar[tuple[Field, ...]] = OPENAI_EDIT_FIELDS

    strength: float | None = None
    mask_blur: float | None = None
    padding_mask_crop: int | None = None
    _pictures: dict[str, Image.Image] = PrivateAttr(default_factory=dict)

    def with_pictures(self, pictures: dict[str, Image.Image]) -> EditsRequest:
        """Return this request with what it starts from: ``image``, and ``mask_image`` if any."""
        self._pictures = pictures
        return self

    def _image_options(self) -> dict[str, Any]:
        return {
            **self._pictures,
            "strength": self.strength,
            "mask_blur": self.mask_blur,
            "padding_mask_crop": self.padding_mask_crop,
        }


def edit_form_schema() -> dict[str, Any]:
    """Return the JSON schema of the form, for the server's own description."""
    schema = EditsRequest.model_json_schema()
    upload = {"type": "string", "format": "binary"}
    schema["properties"] |= {"image": upload, "mask": upload}
    schema["required"] = ["prompt", "image"]
    return schema


def _size(size: str | None) -> dict[str, int]:
    if size is None or size == "auto":
        return {}
    if not (match := re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", size)):
        raise InvalidValueError("size", size[:20], "'auto' or WIDTHxHEIGHT in pixels")
    return {"width": int(match[1]), "height": int(match[2])}
