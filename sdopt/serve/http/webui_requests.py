"""The bodies of the AUTOMATIC1111 API, and the orders that they stand for."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Value

from sdopt.errors import InvalidValueError
from sdopt.pipeline import Pipeline
from sdopt.runtime.input_picture import MAX_BLUR, MaskOptions, digest
from sdopt.runtime.request import GenerationRequest
from sdopt.runtime.schedulers import scheduler_facts
from sdopt.serve.http.fields import Field, refuse_the_unsupported
from sdopt.serve.http.state import State
from sdopt.serve.http.uploads import decode_base64, filled_from_around, upright_picture
from sdopt.serve.http.webui_fields import IMG2IMG_FIELDS, TXT2IMG_FIELDS
from sdopt.serve.job import Order
from sdopt.serve.limits import Limits

SPACINGS = ("karras", "exponential", "beta")
FACTS = {fact.name: fact for fact in scheduler_facts()}


class Txt2ImgRequest(BaseModel):
    """The honoured fields; docs/api-webui.md says what becomes of all others."""

    model_config = ConfigDict(extra="allow", strict=True)
    known: ClassVar[tuple[Field, ...]] = TXT2IMG_FIELDS

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

    def check(self) -> None:
        """Refuse what is not supported.

        Raises:
            RequestError: The message says what.
        """
        refuse_the_unsupported(self.model_dump(exclude_unset=True), self.known)

    def model_of(self, state: State) -> str:
        """Return the name of the bundle that is asked for."""
        return _overrides(self.override_settings or {}, state.default_model)[0]

    async def order(self, state: State, model: str, pipeline: Pipeline) -> Order:
        """Turn the request into an order.

        Raises:
            RequestError: It cannot be carried out as it stands.
        """
        _, clip_skip = _overrides(self.override_settings or {}, model)
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
            **await state.apart(partial(self._image_options, state.service.limits)),
        }
        request = await state.request(pipeline, options)
        if (eta := self._eta(request.plan.name)) is not None:
            seeded = options | {"eta": eta, "seed": request.seed}
            request = await state.request(pipeline, seeded)
        return Order(model=model, request=self._finished(request))

    def echo(self) -> dict[str, Any]:
        """Return the fields that were sent, for the answer."""
        return self.model_dump(exclude_unset=True)

    def _image_options(self, limits: Limits) -> dict[str, Any]:
        """Return what is said of a picture to start from."""
        del limits
        return {}

    def _finished(self, request: GenerationRequest) -> GenerationRequest:
        """Return a checked request with what only this API knows of."""
        return request

    def _scheduler(self) -> str | None:
        sampler = self.sampler_name or self.sampler_index
        spacing = (self.scheduler or "automatic").casefold()
        if spacing == "automatic":
            return sampler
        if spacing not in SPACINGS:
            allowed = "automatic, karras, exponential or beta"
            raise InvalidValueError("scheduler", self.scheduler, allowed)
        if sampler is None:
            hint = "The spacing of sigmas belongs to a sampler"
            raise InvalidValueError("sampler_name", None, "required where scheduler is given", hint)
        return f"{sampler} {spacing}"

    def _eta(self, scheduler: str) -> float | None:
        """Return the eta to use, where the scheduler takes one."""
        fact = FACTS.get(scheduler) or FACTS.get(scheduler.rpartition("_")[0])
        if fact is not None and fact.noise == "with eta":
            return self.eta
        if self.eta not in (None, 0, 1):
            raise InvalidValueError("eta", self.eta, f"0 or 1 for {scheduler}, which takes none")
        return None


class Img2ImgRequest(Txt2ImgRequest):
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

    def _image_options(self, limits: Limits) -> dict[str, Any]:
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


class PngInfoRequest(BaseModel):
    """A picture whose settings are asked for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    image: str


def _opened(name: str, text: str, limits: Limits) -> Image.Image:
    return upright_picture(name, decode_base64(name, text), limits.max_input_pixels)


def _overrides(settings: dict[str, Any], default_model: str) -> tuple[str, int]:
    model, clip_skip = default_model, 0
    for name, value in settings.items():
        if name == "sd_model_checkpoint" and isinstance(value, str):
            model = value
        elif name == "CLIP_stop_at_last_layers" and isinstance(value, int) and value >= 1:
            clip_skip = value - 1
        else:
            allowed = "a model's name as sd_model_checkpoint, or CLIP_stop_at_last_layers from 1"
            raise InvalidValueError(f"override_settings.{name[:40]}", str(value)[:40], allowed)
    return model, clip_skip
