"""What a request makes of the latents that its first pass leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdopt.runtime.request import GenerationRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondPass:
    """A second run through the denoising loop.

    Attributes:
        request: What is run. What its pictures start from, the first pass makes.
        settings: What was asked for beside the first pass's settings, as JSON data.
    """

    request: GenerationRequest
    settings: Mapping[str, object]
