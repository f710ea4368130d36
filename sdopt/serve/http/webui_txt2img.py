"""The body of ``POST /sdapi/v1/txt2img``."""

from __future__ import annotations

from typing import Any, ClassVar

from sdopt.serve.http.fields import Field
from sdopt.serve.http.webui_fields import TXT2IMG_FIELDS
from sdopt.serve.http.webui_requests import WebUiRequest
from sdopt.serve.limits import Limits


class Txt2ImgRequest(WebUiRequest):
    """The honoured fields; docs/api-webui.md says what becomes of all others."""

    known: ClassVar[tuple[Field, ...]] = TXT2IMG_FIELDS

    enable_hr: bool | None = None
    hr_scale: float | None = None
    hr_upscaler: str | None = None
    hr_second_pass_steps: int | None = None
    denoising_strength: float | None = None

    def _own_options(self, limits: Limits) -> dict[str, Any]:
        del limits
        if not self.enable_hr:
            return {}
        return {
            "hr_scale": 2.0 if self.hr_scale is None else self.hr_scale,
            "hr_upscaler": self.hr_upscaler,
            "hr_strength": 0.75 if self.denoising_strength is None else self.denoising_strength,
            "hr_second_pass_steps": self.hr_second_pass_steps or None,
        }
