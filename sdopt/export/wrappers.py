"""Thin modules around torch's models: tensors in by position, tensors out, nothing else.

Only export worker processes import this module, because it imports torch and diffusers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.nn import functional

from sdopt.export.settings import unet_conditions


class TextEncoder(nn.Module):
    """``input_ids`` (batch, tokens) int64 to embeddings and every layer's hidden states.

    Negative ids stand for concepts (textual inversion, arXiv:2208.01618): id ``-1 - k`` takes row k
    of ``concept_embeds`` in place of a row of the vocabulary, so that concepts need no new graph.

    The causal mask is a constant of the graph, because the number of tokens is: -inf would do as
    well as the lowest number, but minus infinity times zero has been NaN in fused kernels.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        weight = next(model.parameters())
        tokens = model.config.max_position_embeddings
        lowest = torch.full(
            (1, 1, tokens, tokens), torch.finfo(weight.dtype).min, dtype=weight.dtype
        )
        self.register_buffer("causal_mask", lowest.triu(1), persistent=False)

    def forward(self, input_ids: Tensor, concept_embeds: Tensor) -> tuple[Tensor, ...]:
        """Return every output that runtimes ask for.

        They are last_hidden_state (batch, tokens, width), pooler_output (batch, width),
        hidden_states.0 to hidden_states.n before the final norm, and normed_hidden_states.1 to
        normed_hidden_states.(n-1) behind it, each (batch, tokens, width).

        Args:
            input_ids: (batch, tokens) int64.
            concept_embeds: (concepts, width), at least one row, of the weights' dtype.
        """
        out = self._run(input_ids, concept_embeds)
        normed = map(self.model.final_layer_norm, out.hidden_states[1:-1])
        return (out.last_hidden_state, out.pooler_output, *out.hidden_states, *normed)

    def _run(self, input_ids: Tensor, concept_embeds: Tensor) -> Any:
        is_concept = input_ids < 0
        concepts = concept_embeds[(-(input_ids + 1)).clamp(min=0)]

        def put_in_concepts(_module: nn.Module, _args: object, embeds: Tensor) -> Tensor:
            return torch.where(is_concept.unsqueeze(-1), concepts, embeds)

        with self.model.get_input_embeddings().register_forward_hook(put_in_concepts):
            return self.model(
                input_ids.clamp(min=0),
                self.causal_mask,
                output_hidden_states=True,
                return_dict=True,
            )


class ProjectedTextEncoder(TextEncoder):
    """The same for a text encoder that also sums a whole prompt up in one projected vector."""

    def forward(self, input_ids: Tensor, concept_embeds: Tensor) -> tuple[Tensor, ...]:
        """Return text_embeds (batch, projection), last_hidden_state and all hidden states."""
        out = self._run(input_ids, concept_embeds)
        return (out.text_embeds, out.last_hidden_state, *out.hidden_states)


class UNet(nn.Module):
    """One call of the UNet, with a timestep for each row."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.conditions = unet_conditions(model.config)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        *conditions: Tensor,
    ) -> Tensor:
        """Return the model output (batch, channels, latent_height, latent_width).

        Args:
            sample: (batch, channels, latent_height, latent_width).
            timestep: (batch,) float32.
            encoder_hidden_states: (batch, sequence, width).
            *conditions: What :func:`sdopt.export.settings.unet_conditions` names, (batch, width).
        """
        added = dict(zip(self.conditions, conditions, strict=True))
        guidance = added.pop("timestep_cond", None)
        return self.model(
            sample,
            timestep,
            encoder_hidden_states,
            timestep_cond=guidance,
            added_cond_kwargs=added,
            return_dict=False,
        )[0]


class VaeDecoder(nn.Module):
    """Latents, already divided by the scaling factor, to a picture in -1..1."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, latent_sample: Tensor) -> Tensor:
        """Map (batch, channels, latent_height, latent_width) to (batch, 3, height, width)."""
        return self.model.decode(latent_sample, return_dict=False)[0]  # pyright: ignore[reportCallIssue]


class VaeEncoder(nn.Module):
    """A picture in -1..1 to the mean and log-variance of its latents, not scaled."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, sample: Tensor) -> Tensor:
        """Map (batch, 3, height, width) to (batch, 2 * channels, latent_height, latent_width)."""
        return self.model.encode(sample).latent_dist.parameters  # pyright: ignore[reportCallIssue]


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "text_encoder": TextEncoder,
    "text_encoder_2": ProjectedTextEncoder,
    "unet": UNet,
    "vae_decoder": VaeDecoder,
    "vae_encoder": VaeEncoder,
}


class _ResizeThenConvolve(nn.Module):
    """What :class:`diffusers.models.upsampling.Upsample2D` computes, without its run-time choices.

    Those choices ask for the batch size and the number of elements, which would fix them in the
    graph. The weights keep their names.
    """

    def __init__(self, original: Upsample2D) -> None:
        super().__init__()
        self.conv = original.conv

    def forward(self, hidden_states: Tensor, output_size: torch.Size | None = None) -> Tensor:
        if output_size is None:
            larger = functional.interpolate(hidden_states, scale_factor=2.0, mode="nearest")
        else:
            larger = functional.interpolate(hidden_states, size=output_size, mode="nearest")
        return larger if self.conv is None else self.conv(larger)


def make_traceable(model: nn.Module) -> None:
    """Replace, in place, what would make a traced graph right for the traced sizes only.

    diffusers' UNet looks at the size of its input to decide whether upsampling has to follow the
    sizes of the skip connections. Following them is always right, so here it always does: no
    side of a latent is a multiple of 2**30, which is what the UNet is made to ask for.
    """
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Upsample2D):
                setattr(parent, name, _ResizeThenConvolve(child))
    if hasattr(model, "num_upsamplers"):
        model.num_upsamplers = 30
