"""What a request makes of the latents that its first pass leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from sdopt.runtime.request import GenerationRequest


class SecondPassOptions(TypedDict, total=False):
    """What can be said of a second pass.

    Attributes:
        handover: Share of the schedule after which the refiner goes on, where one is loaded.
            Default 0.8.
        hr_scale: By how much to enlarge a first picture before its details are drawn anew, above 1
            and up to 8 ("hires fix"). Default: one pass.
        hr_upscaler: How; a name in :data:`sdopt.runtime.enlarging.UPSCALERS`, or the web UI's.
            Default ``"latent"``.
        hr_strength: How much may change then, above 0 and up to 1. Default 0.7.
        hr_second_pass_steps: Steps that the second pass runs. Default: as many as the first.
    """

    handover: float
    hr_scale: float | None
    hr_upscaler: str
    hr_strength: float
    hr_second_pass_steps: int | None


HIRES_OPTIONS = ("hr_scale", "hr_upscaler", "hr_strength", "hr_second_pass_steps")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondPass:
    """A second run through the denoising loop.

    Attributes:
        request: What is run. What its pictures start from, the first pass makes.
        settings: What was asked for beside the first pass's settings, as JSON data.
        upscaler: How the first pass's latents are enlarged, see :mod:`sdopt.runtime.enlarging`;
            None where they are handed over to a refiner as they are.
    """

    request: GenerationRequest
    settings: Mapping[str, object]
    upscaler: str | None = None
