"""The configs that a single file does not hold, read off the shapes of its weights.

What no shape tells is what Stability AI's models have in common: heads of 64 values (eight heads in
Stable Diffusion 1), 32 groups per norm, and the schedules that they were published with.
"""

from __future__ import annotations

from typing import Any

from sdopt.export.single_file_names import Tensors

_TRAINING = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "skip_prk_steps": True,
    "clip_sample": False,
}
SCHEDULERS: dict[str, dict[str, Any]] = {
    "sd1": {"_class_name": "PNDMScheduler", "prediction_type": "epsilon", **_TRAINING},
    "sd2": {"_class_name": "DDIMScheduler", **_TRAINING},
    "sdxl": {
        "_class_name": "EulerDiscreteScheduler",
        "prediction_type": "epsilon",
        "timestep_spacing": "leading",
        **_TRAINING,
    },
}
"""As published: Stable Diffusion 1.5, 2.1 and XL 1.0."""
_HEAD_WIDTH = 64


def levels(tensors: Tensors) -> tuple[int, int]:
    """Return how many levels a UNet has, and how many blocks each has on the way down."""
    downs = sorted(int(name.split(".")[1]) for name in tensors if name.endswith(".0.op.weight"))
    if not downs:
        raise KeyError("input_blocks.3.0.op.weight")
    return len(downs) + 1, downs[0] - 1


def unet_config(tensors: Tensors, sample_size: int) -> dict[str, Any]:
    """Read a UNet's config off its weights.

    Args:
        tensors: By name, without ``model.diffusion_model.``.
        sample_size: Latents along one side that it was trained for.

    Raises:
        KeyError: A weight that tells something is missing; its name.
    """
    count, resnets = levels(tensors)
    firsts = [f"input_blocks.{1 + level * (resnets + 1)}" for level in range(count)]
    widths = [tensors[f"{first}.0.out_layers.3.weight"].shape[0] for first in firsts]
    depths = [_depth(tensors, f"{first}.1") for first in firsts]
    middle = _depth(tensors, "middle_block.1")
    linear = len(tensors["middle_block.1.proj_in.weight"].shape) == 2
    attention = tensors["middle_block.1.transformer_blocks.0.attn2.to_k.weight"]
    return {
        "_class_name": "UNet2DConditionModel",
        "sample_size": sample_size,
        "in_channels": tensors["input_blocks.0.0.weight"].shape[1],
        "out_channels": tensors["out.2.weight"].shape[0],
        "layers_per_block": resnets,
        "block_out_channels": widths,
        "down_block_types": [_block(depth, "Down") for depth in depths],
        "up_block_types": [_block(depth, "Up") for depth in reversed(depths)],
        "transformer_layers_per_block": [depth or middle for depth in depths],
        "cross_attention_dim": attention.shape[1],
        "attention_head_dim": [width // _HEAD_WIDTH for width in widths] if linear else 8,
        "use_linear_projection": linear,
    }


def _depth(tensors: Tensors, place: str) -> int:
    start = f"{place}.transformer_blocks."
    return len({name[len(start) :].split(".")[0] for name in tensors if name.startswith(start)})


def _block(depth: int, side: str) -> str:
    return f"{'CrossAttn' if depth else ''}{side}Block2D"


def added_config(tensors: Tensors, pooled: int, numbers: int) -> dict[str, Any]:
    """Read what a UNet with pooled prompts and sizes has beside.

    Args:
        tensors: By name, without ``model.diffusion_model.``.
        pooled: Width of pooled prompts.
        numbers: How many numbers it is told.
    """
    width = tensors["label_emb.0.0.weight"].shape[1]
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": (width - pooled) // numbers,
        "projection_class_embeddings_input_dim": width,
    }


def vae_config(tensors: Tensors, sample_size: int) -> dict[str, Any]:
    """Read a VAE's config off its weights.

    Args:
        tensors: By name, without ``first_stage_model.``.
        sample_size: Pixels along one side that the UNet was trained for.

    Raises:
        KeyError: A weight that tells something is missing; its name.
    """
    count = _numbers(tensors, "encoder.down.")
    widths = [tensors[f"encoder.down.{n}.block.0.conv1.weight"].shape[0] for n in range(count)]
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": tensors["encoder.conv_in.weight"].shape[1],
        "out_channels": tensors["decoder.conv_out.weight"].shape[0],
        "latent_channels": tensors["post_quant_conv.weight"].shape[0],
        "block_out_channels": widths,
        "layers_per_block": _numbers(tensors, "encoder.down.0.block."),
        "down_block_types": ["DownEncoderBlock2D"] * count,
        "up_block_types": ["UpDecoderBlock2D"] * count,
        "sample_size": sample_size,
    }


def _numbers(tensors: Tensors, start: str) -> int:
    found = {name[len(start) :].split(".")[0] for name in tensors if name.startswith(start)}
    return len([number for number in found if number.isdigit()])


def text_config(tensors: Tensors, activation: str, projection: int | None) -> dict[str, Any]:
    """Read a text encoder's config off its weights.

    Args:
        tensors: By the names that transformers has, beginning with ``text_model.``.
        activation: ``"quick_gelu"`` for OpenAI's CLIP, ``"gelu"`` for OpenCLIP.
        projection: Width of pooled prompts, where there is a projection.

    Raises:
        KeyError: A weight that tells something is missing; its name.
    """
    embeddings = tensors["text_model.embeddings.token_embedding.weight"]
    words, width = embeddings.shape
    layer = "text_model.encoder.layers."
    return {
        "architectures": ["CLIPTextModelWithProjection" if projection else "CLIPTextModel"],
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": tensors[f"{layer}0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": _numbers(tensors, layer),
        "num_attention_heads": max(1, width // _HEAD_WIDTH),
        "max_position_embeddings": tensors["text_model.embeddings.position_embedding.weight"].shape[
            0
        ],
        "hidden_act": activation,
        "projection_dim": projection or width,
        "bos_token_id": words - 2,
        "eos_token_id": words - 1,
        "pad_token_id": words - 1,
    }
