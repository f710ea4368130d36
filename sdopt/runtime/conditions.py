"""What a UNet takes beside its prompt's embeddings, one row for each of its rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sdopt.runtime.ports import Engine, FloatArray
from sdopt.runtime.prompt_embeds import Prompt
from sdopt.runtime.prompts import PromptEncoder
from sdopt.runtime.request import GenerationRequest

_EVERY_UNET = ("sample", "timestep", "encoder_hidden_states")


class Conditions:
    """Makes the further inputs of a bundle's UNet.

    Attributes:
        shapes: Their names, and the shape of one row of each.
    """

    def __init__(self, unet: Engine, prompts: PromptEncoder) -> None:
        self._prompts = prompts
        self.shapes = {
            spec.name: tuple(map(int, spec.shape[1:]))
            for spec in unet.inputs
            if spec.name not in _EVERY_UNET
        }

    def positive(self, request: GenerationRequest, prompt: Prompt) -> Mapping[str, FloatArray]:
        """Return a conditional row's inputs by name: each (width,) float32."""
        return self._row(request, prompt, negative=False)

    def negative(self, request: GenerationRequest) -> Mapping[str, FloatArray]:
        """Return an unconditional row's inputs by name: each (width,) float32."""
        return self._row(request, request.negative_prompt, negative=True)

    def _row(
        self, request: GenerationRequest, prompt: Prompt, *, negative: bool
    ) -> Mapping[str, FloatArray]:
        row: dict[str, FloatArray] = {}
        pooled = self._prompts.pooled(prompt, request.clip_skip)
        if pooled is not None:
            row["text_embeds"] = pooled
        if (micro := request.micro) is not None:
            row["time_ids"] = (micro.negative if negative else micro.positive).time_ids(micro.names)
        if (shape := self.shapes.get("timestep_cond")) is not None:
            row["timestep_cond"] = guidance_embedding(request.guidance_scale, shape[0])
        return row


def guidance_embedding(guidance_scale: float, width: int) -> FloatArray:
    """Embed a guidance scale as UNets with guidance distilled into them read it.

    ``w = 1000 (guidance_scale - 1)``, and then sines and cosines of ``w`` at ``width / 2``
    frequencies from 1 down to 1e-4, as timesteps are embedded (arXiv:1706.03762, section 3.5;
    arXiv:2210.03142 for guidance as an input).

    Args:
        guidance_scale: Dimensionless.
        width: Of the UNet's ``time_cond_proj_dim``.

    Returns:
        (width,) float32.
    """
    half = width // 2
    step = np.log(np.float32(10000.0)) / np.float32(half - 1)
    frequencies = np.exp(-step * np.arange(half, dtype=np.float32))
    phases = np.float32(guidance_scale - 1) * np.float32(1000.0) * frequencies
    embedded = np.concatenate([np.sin(phases), np.cos(phases)])
    return np.pad(embedded, (0, width - 2 * half)).astype(np.float32)
