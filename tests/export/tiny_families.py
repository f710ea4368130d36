"""Write a tiny checkpoint of any family, with random weights, in the diffusers layout.

    python tests/export/tiny_families.py OUT FAMILY [--seed 0]

FAMILY is a name of :data:`sdopt.bundle.families.FAMILIES`, or sd2_base: 2.x that predicts noise.
Three UNet levels, VAEs of factor 8, and CLIP-format tokenizers that know bytes and five merges; the
second one pads with another token.
A script, run in a process of its own, so that the tests themselves stay free of torch.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.export.tiny_checkpoint import TOKENS, write_tokenizer

NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
LEADING = {**NOISE, "steps_offset": 1}
TRAILING = {**LEADING, "timestep_spacing": "trailing"}
PNDM = ("PNDMScheduler", {**LEADING, "skip_prk_steps": True})
DDIM_V = ("DDIMScheduler", {**LEADING, "prediction_type": "v_prediction", "clip_sample": False})
EULER = ("EulerDiscreteScheduler", {**LEADING, "timestep_spacing": "leading"})
WIDTHS = {"text_encoder": 16, "text_encoder_2": 24}
PROJECTION, TIME_ID_WIDTH = 24, 8
TOKENIZERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}


@dataclass(frozen=True)
class TinyFamily:
    """What differs from the others."""

    pipeline: str = "StableDiffusionPipeline"
    encoders: tuple[str, ...] = ("text_encoder",)
    scheduler: tuple[str, dict[str, Any]] = PNDM
    unet: dict[str, Any] = field(default_factory=dict)
    activation: str = "quick_gelu"
    time_ids: int = 0
    index: dict[str, Any] = field(default_factory=dict)


LINEAR = {"use_linear_projection": True, "attention_head_dim": (2, 4, 4)}
MASKED = {"in_channels": 9}
XL_PIPELINE = "StableDiffusionXLPipeline"
BOTH = ("text_encoder", "text_encoder_2")
TINY: dict[str, TinyFamily] = {
    "sd1": TinyFamily(),
    "sd1_inpainting": TinyFamily("StableDiffusionInpaintPipeline", unet=MASKED),
    "lcm": TinyFamily(
        "LatentConsistencyModelPipeline",
        scheduler=("LCMScheduler", LEADING),
        unet={"time_cond_proj_dim": 32},
    ),
    "sd2": TinyFamily(scheduler=DDIM_V, unet=LINEAR, activation="gelu"),
    "sd2_base": TinyFamily(unet=LINEAR, activation="gelu"),
    "sd2_inpainting": TinyFamily(
        "StableDiffusionInpaintPipeline", unet=LINEAR | MASKED, activation="gelu"
    ),
    "sd_turbo": TinyFamily(
        scheduler=("EulerDiscreteScheduler", TRAILING), unet=LINEAR, activation="gelu"
    ),
    "sdxl": TinyFamily(XL_PIPELINE, BOTH, EULER, unet=LINEAR, time_ids=6),
    "sdxl_turbo": TinyFamily(
        XL_PIPELINE,
        BOTH,
        ("EulerAncestralDiscreteScheduler", TRAILING),
        unet=LINEAR,
        time_ids=6,
    ),
    "sdxl_lcm": TinyFamily(
        XL_PIPELINE,
        BOTH,
        ("LCMScheduler", LEADING),
        unet=LINEAR | {"time_cond_proj_dim": 32},
        time_ids=6,
    ),
    "sdxl_refiner": TinyFamily(
        "StableDiffusionXLImg2ImgPipeline",
        ("text_encoder_2",),
        EULER,
        unet=LINEAR,
        time_ids=5,
        index={"requires_aesthetics_score": True},
    ),
    "sdxl_inpainting": TinyFamily(
        "StableDiffusionXLInpaintPipeline", BOTH, EULER, unet=LINEAR | MASKED, time_ids=6
    ),
}


def build(out: Path, name: str, seed: int) -> None:
    """Write the checkpoint."""
    import torch

    family = TINY[name]
    makers: dict[str, Callable[[], Any]] = {"vae": _vae, "unet": lambda: _unet(family)}
    for encoder in family.encoders:
        makers[encoder] = partial(_text_encoder, encoder, family, out)
    modules: dict[str, Any] = {}
    for folder, make in makers.items():
        torch.manual_seed(seed)  # each anew, so that families share what is alike
        modules[folder] = make().eval()
        modules[folder].save_pretrained(out / folder)
    _scheduler(*family.scheduler).save_pretrained(out / "scheduler")
    _write_index(out, family, modules)


def _vae() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4,
        sample_size=96, scaling_factor=0.18215,
    )  # fmt: skip


def _unet(family: TinyFamily) -> Any:
    from diffusers import UNet2DConditionModel

    width = sum(WIDTHS[encoder] for encoder in family.encoders)
    if family.time_ids:
        added = {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": TIME_ID_WIDTH,
            "projection_class_embeddings_input_dim": PROJECTION + family.time_ids * TIME_ID_WIDTH,
        }
    else:
        added = {}
    settings = {"attention_head_dim": 2, **added, **family.unet}
    return UNet2DConditionModel(
        sample_size=12, layers_per_block=1, block_out_channels=(8, 16, 16), norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=width, **settings,
    )  # fmt: skip


def _text_encoder(name: str, family: TinyFamily, out: Path) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    vocabulary = write_tokenizer(out / TOKENIZERS[name], "!" if name == "text_encoder_2" else None)
    kind = CLIPTextModel if name == "text_encoder" else CLIPTextModelWithProjection
    return kind(
        CLIPTextConfig(
            vocab_size=vocabulary, hidden_size=WIDTHS[name], intermediate_size=32,
            num_hidden_layers=3, num_attention_heads=2, max_position_embeddings=TOKENS,
            hidden_act=family.activation if name == "text_encoder" else "gelu",
            projection_dim=PROJECTION, bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )
    )  # fmt: skip


def _scheduler(name: str, settings: dict[str, Any]) -> Any:
    import diffusers

    return getattr(diffusers, name)(**settings)


def _write_index(out: Path, family: TinyFamily, modules: dict[str, Any]) -> None:
    libraries = {"vae": "diffusers", "unet": "diffusers"}
    index: dict[str, Any] = {"_class_name": family.pipeline, "_diffusers_version": "0.42.1"}
    for name, module in modules.items():
        index[name] = [libraries.get(name, "transformers"), type(module).__name__]
        if name in TOKENIZERS:
            index[TOKENIZERS[name]] = ["transformers", "CLIPTokenizer"]
    index["scheduler"] = ["diffusers", family.scheduler[0]]
    if family.time_ids:
        missing = {n: [None, None] for n in (*TOKENIZERS, *TOKENIZERS.values()) if n not in index}
        index |= missing | {"force_zeros_for_empty_prompt": True} | family.index
    (out / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("family", choices=TINY)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    build(options.out, options.family, options.seed)


if __name__ == "__main__":
    main()
