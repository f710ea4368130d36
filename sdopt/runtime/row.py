"""One row of the denoising loop: a picture in the making, as everybody else sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sdopt.runtime.noise import NoiseStream
from sdopt.runtime.ports import FloatArray, Reading
from sdopt.runtime.row_image import RowImage
from sdopt.runtime.schedulers import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRequest:
    """What a row needs to run. The loop copies what it keeps.

    Attributes:
        plan: The compiled schedule.
        noise: The picture's own stream, from its beginning: posterior of the image, start noise,
            posterior of the masked image, then the steps' noise are drawn from it in this order.
        prompt_embeds: (length, dim) float32.
        negative_prompt_embeds: (length, dim) float32, or None for a row without guidance.
        guidance_scale: ``out = uncond + guidance_scale * (cond - uncond)``, dimensionless; without
            effect where ``negative_prompt_embeds`` is None.
        image: What the row starts from; None for text to image.
        conditions: What the UNet takes beside the prompt, by name, such as ``text_embeds``; each
            (width,) float32.
        negative_conditions: The same for the row without the prompt.
    """

    plan: Plan
    noise: NoiseStream
    prompt_embeds: FloatArray
    negative_prompt_embeds: FloatArray | None = None
    guidance_scale: float = 1.0
    image: RowImage | None = None
    conditions: Mapping[str, FloatArray] = field(default_factory=dict[str, FloatArray])
    negative_conditions: Mapping[str, FloatArray] = field(default_factory=dict[str, FloatArray])


class Row:
    """A picture in the making. Made by ``DenoisingLoop.admit``; read by whoever holds it.

    All that is computed for a row depends on its own request and its own model outputs alone: that
    is why a picture is the same bit for bit in any company.

    Attributes:
        request: As admitted.
        stage: How many of the plan's evaluations are done, or under way on a device.
    """

    def __init__(self, request: RowRequest, latents: Callable[[Row], Reading]) -> None:
        """Begin at the first evaluation; ``latents`` reads the latents of a row where they lie."""
        self.request = request
        self.stage = 0
        self._read = latents

    @property
    def stages(self) -> int:
        """How many evaluations of the UNet the row takes in all."""
        return self.request.plan.stages

    @property
    def finished(self) -> bool:
        """Whether every evaluation is done."""
        return self.stage == self.stages

    @property
    def guided(self) -> bool:
        """Whether the row takes a second, unconditional UNet row."""
        return self.request.negative_prompt_embeds is not None

    @property
    def latents(self) -> FloatArray:
        """The latents as they stand, (channels, height/8, width/8) float32; a new array.

        Of a row that has left the loop, as they stood then.
        """
        latents: FloatArray = self._read(self).array().copy()
        return latents

    def leave(self) -> None:
        """Take the latents along, so that the row's place can be given away."""
        last = self._read(self)
        self._read = lambda _: last
