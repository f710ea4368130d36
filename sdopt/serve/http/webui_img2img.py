"""The body of ``POST /sdapi/v1/img2img``."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from PIL import Image
from pydantic import Field as Value

from sdopt.errors import InvalidValueError
from sdopt.runtime.input_picture import MAX_BLUR, MaskOptions, digest
from sdopt.runtime.request import GenerationRequest
from sdopt.serve.http.fields import Field
from sdopt.serve.http.uploads import decode_base64, filled_from_around, upright_picture
from sdopt.serve.http.webui_fields import IMG2IMG_FIELDS
from sdopt.serve.http.webui_requests import WebUiRequest
from sdopt.serve.limits import Limits


class Img2ImgRequest(WebUiRequest):
    """The honoured fields; docs/api-webui.md says what becomes of all others."""

    known: ClassVar[tuple[Field, ...]] = IMG2IMG_FIELDS

    init_images: Annotated[list[str], Value(min_length=1, max_length=1)]
    denoising_strength: float | None = None
    mask: str | None = None
    mask_blur: float | None = None
    inpainting_fill: Annotated[int, Value(ge=0, le=3)] | None = None
    inpaint_full_res: bool | Literal[0, 1] | None = None
    inpaint_full_res_padding: int | None = None
    inpainting_mask_invert: Literal[0, 1] | None = None
    include_init_images: bool | None = None
    _unfilled: Image.Image | None = None

    def echo(self) -> dict[str, Any]:
        """Return the fields that were sent, without the pictures unless they are asked for."""
        pictures = set() if self.include_init_images else {"init_images", "mask"}
        return self.model_dump(exclude_unset=True, exclude=pictures)

    def _own_options(self, limits: Limits) -> dict[str, Any]:
        strength = 0.75 if self.denoising_strength is None else self.denoising_strength
        image = _opened("init_images", self.init_images[0], limits)
        if self.mask is None:
            return {"image": image, "strength": strength}
        mask = _opened("mask", self.mask, limits)
        blur = 4.0 if self.mask_blur is None else self.mask_blur
        invert = self.inpainting_mask_invert == 1
        if self._fills() and mask.size == image.size and 0 <= blur <= MAX_BLUR:
            self._unfilled = image
            image = filled_from_around(image, MaskOptions(blur=blur, invert=invert).apply(mask))
        return {
            "image": image,
            "strength": strength,
            "mask_image": mask,
            "mask_blur": blur,
            "mask_invert": invert,
            "padding_mask_crop": self._padding(),
        }

    def _fills(self) -> bool:
        if self.inpainting_fill in (2, 3):
            allowed = "0, the colours around the mask, or 1, the picture as it is"
            raise InvalidValueError("inpainting_fill", self.inpainting_fill, allowed)
        return not self.inpainting_fill

    def _padding(self) -> int | None:
        if self.inpaint_full_res is not None and not self.inpaint_full_res:
            return None
        return self.inpaint_full_res_padding or 0

    def _finished(self, request: GenerationRequest) -> GenerationRequest:
        """Put what is redrawn back into the picture as it was sent, and say that it was filled."""
        if self._unfilled is None or request.image is None:
            return request
        start, overlay = request.image, request.image.overlay
        settings = dict(start.settings) | {
            "image_sha256": digest(self._unfilled),
            "masked_content": "fill",
        }
        back = None if overlay is None else replace(overlay, image=self._unfilled)
        return replace(request, image=replace(start, overlay=back, settings=settings))


def _opened(name: str, text: str, limits: Limits) -> Image.Image:
    return upright_picture(name, decode_base64(name, text), limits.max_input_pixels)
