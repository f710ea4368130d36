"""Write a small model twice: as a diffusers folder and as a single file with Stability AI's names.

    python tests/export/single_files.py OUT KIND [--seed 0]

KIND is sd1, sd1_inpainting, sd2, sdxl or sdxl_refiner. The single file's names are written down
here from the other side, by walking over diffusers' modules, so that the tables that read them have
something to be wrong against.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sdopt.export import clip_tokenizer
from sdopt.export.single_file_configs import SCHEDULERS

WORDS, WIDTH, PROJECTION = 49408, 64, 64


@dataclass(frozen=True)
class Kind:
    """What differs between the kinds of files."""

    scheduler: str
    encoders: tuple[str, ...]
    open_clip: tuple[str, ...] = ()
    channels: int = 4
    linear: bool = False
    time_ids: int = 0
    prediction: str = "epsilon"


KINDS = {
    "sd1": Kind("sd1", ("text_encoder",)),
    "sd1_inpainting": Kind("sd1", ("text_encoder",), channels=9),
    "sd2": Kind(
        "sd2", ("text_encoder",), ("text_encoder",), linear=True, prediction="v_prediction"
    ),
    "sdxl": Kind(
        "sdxl", ("text_encoder", "text_encoder_2"), ("text_encoder_2",), linear=True, time_ids=6
    ),
    "sdxl_refiner": Kind("sdxl", ("text_encoder_2",), ("text_encoder_2",), linear=True, time_ids=5),
}


def unet(kind: Kind) -> Any:
    from diffusers import UNet2DConditionModel

    widths = (64, 64) if kind.linear else (32, 32)
    added = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": PROJECTION + 8 * kind.time_ids,
    }
    return UNet2DConditionModel(
        sample_size=12, in_channels=kind.channels, layers_per_block=1, block_out_channels=widths,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), transformer_layers_per_block=(1, 2),
        cross_attention_dim=WIDTH * len(kind.encoders), use_linear_projection=kind.linear,
        attention_head_dim=(1, 1) if kind.linear else 8, **(added if kind.time_ids else {}),
    )  # fmt: skip


def vae(kind: Kind) -> Any:
    from diffusers import AutoencoderKL

    scale = {"scaling_factor": 0.13025, "force_upcast": True} if kind.scheduler == "sdxl" else {}
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 32, 64), layers_per_block=1, sample_size=96, **scale,
    )  # fmt: skip


def text_encoder(kind: Kind, name: str) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    made = CLIPTextModelWithProjection if name == "text_encoder_2" else CLIPTextModel
    return made(
        CLIPTextConfig(
            vocab_size=WORDS, hidden_size=WIDTH, intermediate_size=96, num_hidden_layers=3,
            num_attention_heads=1, max_position_embeddings=77, projection_dim=PROJECTION,
            hidden_act="gelu" if name in kind.open_clip else "quick_gelu",
            bos_token_id=WORDS - 2, eos_token_id=WORDS - 1, pad_token_id=WORDS - 1,
        )
    )  # fmt: skip


RESNET = (
    ("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"), ("conv2", "out_layers.3"), ("conv_shortcut", "skip_connection"),
)  # fmt: skip


def unet_state(model: Any) -> dict[str, Any]:
    """Walk over a UNet in the order in which Stability AI's code numbers its blocks."""
    places: list[tuple[Any, str]] = [
        (model.time_embedding.linear_1, "time_embed.0"),
        (model.time_embedding.linear_2, "time_embed.2"),
        (model.conv_in, "input_blocks.0.0"),
        (model.conv_norm_out, "out.0"),
        (model.conv_out, "out.2"),
    ]
    if getattr(model, "add_embedding", None) is not None:
        places.append((model.add_embedding.linear_1, "label_emb.0.0"))
        places.append((model.add_embedding.linear_2, "label_emb.0.2"))
    number = 1
    for block in model.down_blocks:
        for index, resnet in enumerate(block.resnets):
            places += resnet_places(resnet, f"input_blocks.{number}.0")
            if hasattr(block, "attentions"):
                places.append((block.attentions[index], f"input_blocks.{number}.1"))
            number += 1
        if block.downsamplers:
            places.append((block.downsamplers[0].conv, f"input_blocks.{number}.0.op"))
            number += 1
    middle = model.mid_block
    places += resnet_places(middle.resnets[0], "middle_block.0")
    places.append((middle.attentions[0], "middle_block.1"))
    places += resnet_places(middle.resnets[1], "middle_block.2")
    number = 0
    for block in model.up_blocks:
        for index, resnet in enumerate(block.resnets):
            places += resnet_places(resnet, f"output_blocks.{number}.0")
            attended = hasattr(block, "attentions")
            if attended:
                places.append((block.attentions[index], f"output_blocks.{number}.1"))
            if index == len(block.resnets) - 1 and block.upsamplers:
                place = f"output_blocks.{number}.{1 + attended}.conv"
                places.append((block.upsamplers[0].conv, place))
            number += 1
    return collected(places, "model.diffusion_model.")


def resnet_places(resnet: Any, place: str) -> list[tuple[Any, str]]:
    parts = ((getattr(resnet, old, None), f"{place}.{new}") for old, new in RESNET)
    return [(part, where) for part, where in parts if part is not None]


def collected(places: list[tuple[Any, str]], prefix: str) -> dict[str, Any]:
    return {
        f"{prefix}{place}.{name}": tensor
        for module, place in places
        for name, tensor in module.state_dict().items()
    }


def vae_state(model: Any) -> dict[str, Any]:
    places: list[tuple[Any, str]] = [
        (model.quant_conv, "quant_conv"), (model.post_quant_conv, "post_quant_conv"),
    ]  # fmt: skip
    sides = (
        (model.encoder, "encoder", "down", list(enumerate(model.encoder.down_blocks))),
        (model.decoder, "decoder", "up", list(enumerate(reversed(model.decoder.up_blocks)))),
    )
    for side, name, way, blocks in sides:
        places += [(side.conv_in, f"{name}.conv_in"), (side.conv_out, f"{name}.conv_out")]
        places += [(side.conv_norm_out, f"{name}.norm_out")]
        for number, resnet in enumerate(side.mid_block.resnets, start=1):
            places += vae_resnet(resnet, f"{name}.mid.block_{number}")
        for level, block in blocks:
            for index, resnet in enumerate(block.resnets):
                places += vae_resnet(resnet, f"{name}.{way}.{level}.block.{index}")
            samplers = getattr(block, f"{way}samplers")
            if samplers:
                places.append((samplers[0].conv, f"{name}.{way}.{level}.{way}sample.conv"))
    state = collected(places, "first_stage_model.")
    for side, name in ((model.encoder, "encoder"), (model.decoder, "decoder")):
        attention = side.mid_block.attentions[0]
        parts = {"q": attention.to_q, "k": attention.to_k, "v": attention.to_v}
        parts |= {"proj_out": attention.to_out[0], "norm": attention.group_norm}
        for part, module in parts.items():
            for kind, tensor in module.state_dict().items():
                wide = tensor[:, :, None, None] if tensor.ndim == 2 else tensor
                state[f"first_stage_model.{name}.mid.attn_1.{part}.{kind}"] = wide
    return state


def vae_resnet(resnet: Any, place: str) -> list[tuple[Any, str]]:
    names = (("norm1",) * 2, ("conv1",) * 2, ("norm2",) * 2, ("conv2",) * 2)
    parts = [(getattr(resnet, old), f"{place}.{new}") for old, new in names]
    if resnet.conv_shortcut is not None:
        parts.append((resnet.conv_shortcut, f"{place}.nin_shortcut"))
    return parts


def text_state(model: Any, kind: Kind, name: str) -> dict[str, Any]:
    xl = kind.scheduler == "sdxl"
    number = kind.encoders.index(name)
    start = f"conditioner.embedders.{number}." if xl else "cond_stage_model."
    inner = getattr(model, "text_model", model)
    if name not in kind.open_clip:
        return {
            f"{start}transformer.text_model.{key.removeprefix('text_model.')}": tensor
            for key, tensor in model.state_dict().items()
        }
    return open_clip_state(model, inner, f"{start}model.", spare=0 if xl else 1)


def open_clip_state(model: Any, inner: Any, start: str, spare: int) -> dict[str, Any]:
    """Fuse query, key and value, transpose the projection, and add a layer that nobody uses."""
    import torch

    state = {
        "token_embedding.weight": inner.embeddings.token_embedding.weight,
        "positional_embedding": inner.embeddings.position_embedding.weight,
        "ln_final.weight": inner.final_layer_norm.weight,
        "ln_final.bias": inner.final_layer_norm.bias,
        "logit_scale": torch.tensor(1.0),
        "text_projection": torch.zeros(WIDTH, PROJECTION),
    }
    if hasattr(model, "text_projection"):
        state["text_projection"] = model.text_projection.weight.T.contiguous()
    layers = [*inner.encoder.layers, *([inner.encoder.layers[0]] * spare)]
    for index, layer in enumerate(layers):
        block, attention = f"transformer.resblocks.{index}.", layer.self_attn
        fused = (attention.q_proj, attention.k_proj, attention.v_proj)
        state[f"{block}attn.in_proj_weight"] = torch.cat([part.weight for part in fused])
        state[f"{block}attn.in_proj_bias"] = torch.cat([part.bias for part in fused])
        modules = {
            "attn.out_proj": attention.out_proj, "ln_1": layer.layer_norm1,
            "ln_2": layer.layer_norm2, "mlp.c_fc": layer.mlp.fc1, "mlp.c_proj": layer.mlp.fc2,
        }  # fmt: skip
        state |= collected([(module, block + key) for key, module in modules.items()], "")
    return {start + key: tensor for key, tensor in state.items()}


def write(out: Path, name: str, seed: int) -> None:
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    kind = KINDS[name]
    models = {"unet": unet(kind), "vae": vae(kind)}
    models |= {encoder: text_encoder(kind, encoder) for encoder in kind.encoders}
    for folder, model in models.items():
        model.eval().save_pretrained(out / "folder" / folder)
    state = {**unet_state(models["unet"]), **vae_state(models["vae"])}
    for encoder in kind.encoders:
        state |= text_state(models[encoder], kind, encoder)
    state |= {"betas": torch.zeros(1000), "model_ema.decay": torch.tensor(0.9999)}
    save_file(
        {k: t.detach().clone().contiguous() for k, t in state.items()}, out / "model.safetensors"
    )
    write_documents(out / "folder", kind, models)


def write_documents(folder: Path, kind: Kind, models: dict[str, Any]) -> None:
    xl = kind.scheduler == "sdxl"
    name = "StableDiffusionXLPipeline" if xl else "StableDiffusionPipeline"
    index = {"_class_name": name, "requires_aesthetics_score": kind.time_ids == 5}
    texts = {"model_index.json": json.dumps(index)}
    scheduler = SCHEDULERS[kind.scheduler] | {"prediction_type": kind.prediction}
    texts["scheduler/scheduler_config.json"] = json.dumps(scheduler)
    for encoder in kind.encoders:
        tokenizer = encoder.replace("text_encoder", "tokenizer")
        padding = "!" if encoder in kind.open_clip else clip_tokenizer.END
        texts |= clip_tokenizer.documents(tokenizer, padding)
    for place, text in texts.items():
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("kinds", nargs="+", choices=KINDS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for kind in options.kinds:
        write(options.out / kind, kind, options.seed)


if __name__ == "__main__":
    main()
