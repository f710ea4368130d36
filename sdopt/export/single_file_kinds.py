"""The kinds of single files, as rows: which text encoders are in them, and under which names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNET, VAE = "model.diffusion_model.", "first_stage_model."
IGNORED = re.compile(
    r"model_ema\..*|.*\.?(logit_scale|attn_mask|position_ids)|first_stage_model\.(loss|model_ema)\..*"
    r"|(sqrt_|log_one_minus_|posterior_)?.*alphas?_cumprod.*|betas|posterior_.*|logvar"
    r"|denoiser\.sigmas|v_pred|ztsnr|.*\.model_ema\.(decay|num_updates)"
)
"""What training leaves behind: averaged weights, schedules, markers."""


@dataclass(frozen=True, slots=True)
class TextPart:
    """A text encoder of a kind of files.

    Attributes:
        prefix: What its weights' names begin with.
        folder: What diffusers calls it.
        open_clip: Whether it is OpenCLIP's rather than OpenAI's.
        projected: Whether it gives pooled prompts.
    """

    prefix: str
    folder: str
    open_clip: bool = False
    projected: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of files.

    Attributes:
        name: Of its schedule in :data:`sdopt.export.single_file_configs.SCHEDULERS`.
        texts: Its text encoders. The first kind whose text encoders are all there is taken.
        sizes: Latents along one side that it was trained for, by prediction type.
        numbers: How many numbers its UNet is told.
        index: What model_index.json would say.
    """

    name: str
    texts: tuple[TextPart, ...]
    sizes: Mapping[str, int]
    index: Mapping[str, Any]
    numbers: int = 0


_XL = {"_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": True}
KINDS = (
    Kind(
        "sdxl",
        (
            TextPart("conditioner.embedders.0.transformer.", "text_encoder"),
            TextPart("conditioner.embedders.1.model.", "text_encoder_2", True, True),
        ),
        {"epsilon": 128, "v_prediction": 128},
        _XL,
        numbers=6,
    ),
    Kind(
        "sdxl",
        (TextPart("conditioner.embedders.0.model.", "text_encoder_2", True, True),),
        {"epsilon": 128, "v_prediction": 128},
        _XL | {"requires_aesthetics_score": True},
        numbers=5,
    ),
    Kind(
        "sd2",
        (TextPart("cond_stage_model.model.", "text_encoder", True),),
        {"epsilon": 64, "v_prediction": 96},
        {"_class_name": "StableDiffusionPipeline"},
    ),
    Kind(
        "sd1",
        (TextPart("cond_stage_model.transformer.", "text_encoder"),),
        {"epsilon": 64, "v_prediction": 64},
        {"_class_name": "StableDiffusionPipeline"},
    ),
)
