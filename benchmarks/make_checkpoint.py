"""Write a checkpoint with the exact architecture of a known model and random weights.

    python benchmarks/make_checkpoint.py OUT [--family sd15|sd21|sdxl] [--dtype float32|float16]

Latency, memory and parity do not depend on trained weights, and nothing needs to be downloaded.
The tokenizer is that of the carried model: its ids are few, but valid for any vocabulary. Networks
are made in the type that they are stored in, and written one after the other, so that the largest
is what has to fit into memory.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

TOKENIZER = Path(__file__).parents[1] / "models" / "shapes" / "checkpoint" / "tokenizer"
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
Makers = dict[str, Callable[[], Any]]


def text_encoder(kind: Any, width: int, layers: int, activation: str) -> Any:
    """Make a CLIP text encoder of heads of 64."""
    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER)
    return kind(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=width // 64,
            hidden_act=activation,
            projection_dim=width,
            max_position_embeddings=77,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def vae(scaling_factor: float, sample_size: int) -> AutoencoderKL:
    """Make the VAE: 84 M parameters."""
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=sample_size,
        scaling_factor=scaling_factor,
    )


def unet(width: int, heads: Any, sample_size: int, **settings: Any) -> UNet2DConditionModel:
    """Make the UNet of Stable Diffusion 1.5 (860 M parameters) or 2.1 (866 M)."""
    return UNet2DConditionModel(
        sample_size=sample_size,
        block_out_channels=(320, 640, 1280, 1280),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=width,
        attention_head_dim=heads,
        **settings,
    )


def unet_xl() -> UNet2DConditionModel:
    """Make the UNet of Stable Diffusion XL: 2567 M parameters."""
    return UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )


def makers(family: str) -> Makers:
    """Return how each folder of a family's checkpoint is made."""
    if family == "sdxl":
        return {
            "unet": unet_xl,
            "vae": lambda: vae(0.13025, 1024),
            "text_encoder": lambda: text_encoder(CLIPTextModel, 768, 12, "quick_gelu"),
            "text_encoder_2": lambda: text_encoder(CLIPTextModelWithProjection, 1280, 32, "gelu"),
            "scheduler": lambda: EulerDiscreteScheduler(
                **NOISE, timestep_spacing="leading", steps_offset=1
            ),
        }
    second = family == "sd21"
    width = 1024 if second else 768
    heads = (5, 10, 20, 20) if second else 8
    layers, activation = (23, "gelu") if second else (12, "quick_gelu")
    return {
        "unet": lambda: unet(
            width,
            heads,
            96 if second else 64,
            use_linear_projection=second,
            upcast_attention=second,
        ),
        "vae": lambda: vae(0.18215, 768 if second else 512),
        "text_encoder": lambda: text_encoder(CLIPTextModel, width, layers, activation),
        "scheduler": lambda: scheduler(second),
    }


def scheduler(second: bool) -> Any:
    """Make the scheduler of Stable Diffusion 1.5 or 2.1."""
    settings = {**NOISE, "steps_offset": 1, "set_alpha_to_one": False}
    if second:
        return DDIMScheduler(**settings, prediction_type="v_prediction", clip_sample=False)
    return PNDMScheduler(**settings, skip_prk_steps=True)


def written(out: Path, family: str) -> Iterator[tuple[str, list[str]]]:
    """Write each folder, and give its entry of model_index.json."""
    for folder, make in makers(family).items():
        made = make()
        made.save_pretrained(out / folder)
        yield folder, [type(made).__module__.split(".")[0], type(made).__name__]
        del made
    for number in ("", "_2") if family == "sdxl" else ("",):
        CLIPTokenizer.from_pretrained(TOKENIZER).save_pretrained(out / f"tokenizer{number}")
        yield f"tokenizer{number}", ["transformers", "CLIPTokenizer"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--family", choices=("sd15", "sd21", "sdxl"), default="sd15")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_default_dtype(getattr(torch, options.dtype))
    xl = "XL" if options.family == "sdxl" else ""
    index: dict[str, Any] = {"_class_name": f"StableDiffusion{xl}Pipeline"}
    index |= dict(written(options.out, options.family))
    if xl:
        index["force_zeros_for_empty_prompt"] = True
    (options.out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


if __name__ == "__main__":
    main()
