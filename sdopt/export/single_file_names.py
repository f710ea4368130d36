"""From the names of weights in single files, those of Stability AI's code, to diffusers'.

Nothing is converted: of fused attention weights each third is a tensor of its own that lies in the
file already, and a convolution of one pixel is a matrix. Only a projection has to be transposed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from sdopt.export.weights import StoredTensor

Tensors = Mapping[str, StoredTensor]
Named = Iterator[tuple[str, StoredTensor]]

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_UNET_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_MIDDLE = {"0": "resnets.0", "1": "attentions.0", "2": "resnets.1"}
_VAE_PARTS = {
    "block": "resnets",
    "downsample": "downsamplers.0",
    "upsample": "upsamplers.0",
    "nin_shortcut": "conv_shortcut",
    "norm_out": "conv_norm_out",
    "mid.block_1": "mid_block.resnets.0",
    "mid.block_2": "mid_block.resnets.1",
    "mid.attn_1.norm": "mid_block.attentions.0.group_norm",
    "mid.attn_1.q": "mid_block.attentions.0.to_q",
    "mid.attn_1.k": "mid_block.attentions.0.to_k",
    "mid.attn_1.v": "mid_block.attentions.0.to_v",
    "mid.attn_1.proj_out": "mid_block.attentions.0.to_out.0",
}
_OPEN_CLIP = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final": "final_layer_norm",
    "transformer.resblocks": "encoder.layers",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_FUSED = re.compile(r"(.*)\.attn\.in_proj_(weight|bias)")


def unet_names(tensors: Tensors, resnets: int) -> Named:
    """Rename a UNet's weights.

    Args:
        tensors: By name, without ``model.diffusion_model.``.
        resnets: Blocks per level on the way down.
    """
    for name, tensor in tensors.items():
        yield _unet_name(name, resnets), tensor


def _unet_name(name: str, resnets: int) -> str:
    for old, new in _UNET_ENDS.items():
        if name.startswith(f"{old}."):
            return new + name.removeprefix(old)
    part, number, place, rest = [*name.split(".", 3), "", "", ""][:4]
    if part == "middle_block":
        return f"mid_block.{_MIDDLE.get(number, number)}.{_inner(f'{place}.{rest}')}"
    if part not in ("input_blocks", "output_blocks") or not number.isdigit():
        return name
    down = part == "input_blocks"
    level, index = divmod(int(number) - down, resnets + 1)
    where = f"{'down' if down else 'up'}_blocks.{level}"
    if rest.startswith(("op.", "conv.")):
        return f"{where}.{'down' if down else 'up'}samplers.0.conv.{rest.partition('.')[2]}"
    return f"{where}.{'attentions' if place == '1' else 'resnets'}.{index}.{_inner(rest)}"


def _inner(name: str) -> str:
    for old, new in _RESNET.items():
        if name.startswith(f"{old}."):
            return new + name.removeprefix(old)
    return name


def vae_names(tensors: Tensors, levels: int) -> Named:
    """Rename a VAE's weights.

    Args:
        tensors: By name, without ``first_stage_model.``.
        levels: How many there are; the file counts those of the decoder from the picture's end.
    """
    for name, tensor in tensors.items():
        new = re.sub(r"(down|up)\.(\d+)\.", lambda m: _vae_level(m, levels), name)
        for old, part in _VAE_PARTS.items():
            new = new.replace(f".{old}.", f".{part}.")
        matrix = ".attentions." in new and len(tensor.shape) == 4
        yield new, replace(tensor, shape=tensor.shape[:2]) if matrix else tensor


def _vae_level(found: re.Match[str], levels: int) -> str:
    side, level = found[1], int(found[2])
    return f"{side}_blocks.{level if side == 'down' else levels - 1 - level}."


def open_clip_names(tensors: Tensors, layers: int) -> Named:
    """Rename an OpenCLIP text encoder's weights.

    Args:
        tensors: By name, without the prefix of the model.
        layers: How many are used; Stable Diffusion 2 leaves out the last one.
    """
    for name, tensor in tensors.items():
        layer = re.match(r"transformer\.resblocks\.(\d+)\.", name)
        if layer and int(layer[1]) >= layers:
            continue
        if fused := _FUSED.fullmatch(name):
            yield from _thirds(_open_clip_name(fused[1]), fused[2], tensor)
        elif name == "text_projection":
            yield (
                "text_projection.weight",
                replace(tensor, shape=tensor.shape[::-1], transposed=True),
            )
        else:
            yield _open_clip_name(name), tensor


def _open_clip_name(name: str) -> str:
    for old, new in _OPEN_CLIP.items():
        name = re.sub(rf"(^|\.){re.escape(old)}($|\.)", rf"\g<1>{new}\g<2>", name)
    return f"text_model.{name}"


def _thirds(layer: str, kind: str, tensor: StoredTensor) -> Named:
    size = (tensor.end - tensor.begin) // 3
    for index, part in enumerate(("q_proj", "k_proj", "v_proj")):
        begin = tensor.begin + index * size
        shape = (tensor.shape[0] // 3, *tensor.shape[1:])
        yield (
            f"{layer}.self_attn.{part}.{kind}",
            replace(tensor, shape=shape, begin=begin, end=begin + size),
        )
