"""What a bundle's manifest says, as the runtime takes it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.manifest import Manifest, Preview
from sdopt.engines.size_bucket import SizeBucket
from sdopt.errors import InvalidValueError
from sdopt.runtime.images import LatentPreview
from sdopt.runtime.prompt_embeds import EmbedsRule
from sdopt.runtime.prompts import PromptEncoder
from sdopt.runtime.request_rules import RequestRules


def request_rules(
    bundle: Bundle,
    prompts: PromptEncoder,
    default_negative_prompt: str,
    fixed_size: SizeBucket | None = None,
) -> RequestRules:
    """Return what requests to a bundle may say, and what they mean where they do not say.

    Args:
        bundle: What they ask.
        prompts: What encodes their prompts.
        default_negative_prompt: Used with guidance where a request gives none.
        fixed_size: Of all pictures, where the engine was told.

    Raises:
        InvalidValueError: The default negative prompt would have no effect.
    """
    manifest = bundle.manifest
    if default_negative_prompt and bundle.family.guidance == "embedded":
        raise InvalidValueError(
            "default_negative_prompt",
            default_negative_prompt,
            f"empty with this model ({bundle.family.title})",
            "Its UNet was distilled with guidance away from an empty prompt, once and for all",
        )
    fixed = None if fixed_size is None else (fixed_size.height, fixed_size.width)
    height, width = fixed or (manifest.defaults.height, manifest.defaults.width)
    return RequestRules(
        defaults=replace(manifest.defaults, height=height, width=width),
        fixed_size=fixed,
        size_multiple=manifest.vae_scale_factor,
        scheduler=manifest.scheduler,
        latent_channels=manifest.latent_channels,
        scaling_factor=manifest.scaling_factor,
        embeds=EmbedsRule(*prompts.shape, prompts.pooled_dim),
        default_negative_prompt=default_negative_prompt,
        max_clip_skip=prompts.max_clip_skip,
        family=bundle.family,
        zero_negative_prompt=manifest.zero_negative_prompt,
    )


_LATENTS_AS_COLOURS = Preview(
    matrix=((0.15, 0, 0), (0, 0.15, 0), (0, 0, 0.15), (0, 0, 0)), bias=(0.5, 0.5, 0.5)
)
"""The first three latents as they are: shapes without true colours, where nobody fitted those."""


def latent_preview(manifest: Manifest) -> LatentPreview:
    """Return the way from latents to small pictures."""
    preview = manifest.preview or _LATENTS_AS_COLOURS
    return LatentPreview(np.array(preview.matrix, np.float32), np.array(preview.bias, np.float32))
