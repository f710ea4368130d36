"""Checkpoint to torch: strictly, so that no weight is ever filled in at random.

Only export worker processes import this module: it imports torch, diffusers and transformers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from sdopt.errors import CheckpointError, WeightsMismatchError
from sdopt.export.checkpoint import Model
from sdopt.export.weights import DTYPES, StoredTensor, WeightFile

_TORCH_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_CLASSES: dict[str, Callable[[Mapping[str, Any]], nn.Module]] = {
    "CLIPTextModel": lambda config: CLIPTextModel(CLIPTextConfig(**config)),
    "CLIPTextModelWithProjection": lambda config: CLIPTextModelWithProjection(
        CLIPTextConfig(**config)
    ),
    "UNet2DConditionModel": lambda config: UNet2DConditionModel.from_config(dict(config)),
    "AutoencoderKL": lambda config: AutoencoderKL.from_config(dict(config)),
}
_OBSOLETE_BUFFERS = ("embeddings.position_ids",)
"""Written by transformers before 4.31; the positions are 0, 1, 2, ... and no weights."""
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""How diffusers before 0.17 called the VAE's attention weights; SD 1.5 was published so."""


def load(model: Model, dtype: torch.dtype) -> nn.Module:
    """Build a model from its config and its own weights, in evaluation mode.

    Raises:
        WeightsMismatchError: Weights are missing or unexpected.
        CheckpointError: A weight has another shape than the config says, or an unknown dtype.
    """
    with _weights_left_out():
        module = _CLASSES[model.model_class](model.config)
    stored = stored_weights(model, module)
    _check(model, module, {name: tensor for name, (_, tensor) in stored.items()})
    state = {name: _read(file, tensor, dtype) for name, (file, tensor) in stored.items()}
    module.load_state_dict(state, strict=True, assign=True)
    assert not any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers()))
    return module.eval().requires_grad_(False)


def half_weights(model: Model, module: nn.Module) -> set[str]:
    """Name the weights that are stored in float16."""
    return {name for name, (_, t) in stored_weights(model, module).items() if t.dtype == "F16"}


Stored = tuple[WeightFile, StoredTensor]


def stored_weights(model: Model, module: nn.Module) -> dict[str, Stored]:
    """Map the module's own weight names to what lies on disk, whoever wrote it."""
    wanted = set(module.state_dict())
    found = {
        _modern_name(name, wanted): (file, tensor)
        for file in model.weights
        for name, tensor in file.tensors.items()
    }
    return {name: item for name, item in found.items() if not name.endswith(_OBSOLETE_BUFFERS)}


def _modern_name(name: str, wanted: set[str]) -> str:
    """Translate between transformers 4 and 5 (``text_model.``) and from old diffusers names."""
    bare = name.removeprefix("text_model.")
    head, _, kind = bare.rpartition(".")
    stem, _, layer = head.rpartition(".")
    candidates = (
        name,
        bare,
        f"text_model.{bare}",
        f"{stem}.{_OLD_ATTENTION.get(layer, layer)}.{kind}",
    )
    return next((candidate for candidate in candidates if candidate in wanted), name)


def _check(model: Model, module: nn.Module, stored: Mapping[str, StoredTensor]) -> None:
    wanted = module.state_dict()
    missing, unexpected = wanted.keys() - stored.keys(), stored.keys() - wanted.keys()
    if missing or unexpected:
        raise WeightsMismatchError(model.folder, missing, unexpected)
    for name, tensor in stored.items():
        shape = tuple(wanted[name].shape)
        if tensor.shape != shape:
            raise CheckpointError(
                model.path,
                f"{name} has the shape {tensor.shape}, where config.json asks for {shape}",
                "Get the config.json that belongs to these weights",
            )
        if tensor.dtype not in DTYPES:
            raise CheckpointError(
                model.path,
                f"{name} is stored as {tensor.dtype}",
                f"Supported: {', '.join(DTYPES)}. Choose another variant of the checkpoint",
            )


def _read(file: WeightFile, tensor: StoredTensor, dtype: torch.dtype) -> torch.Tensor:
    """Read one tensor into memory of its own.

    Mapping the file would be shorter. But mapped pages stay beside a converted copy, and kernels
    round differently with the alignment of the data, so that the same weights in other files would
    give other reference outputs.
    """
    count = math.prod(tensor.shape)
    flat = torch.empty(count, dtype=_TORCH_DTYPES[tensor.dtype])
    with file.path.open("rb") as opened:
        opened.seek(tensor.begin)
        read_bytes = opened.readinto(flat.view(torch.uint8).numpy())
    if read_bytes != tensor.end - tensor.begin:
        raise CheckpointError(file.path, "the file changed while it was read", "Try again")
    if tensor.transposed:
        flat = flat.reshape(tensor.shape[::-1]).T.contiguous()
    return flat.reshape(tensor.shape).to(dtype)


@contextmanager
def _weights_left_out() -> Iterator[None]:
    """Build modules without memory for their parameters; buffers are computed as always."""
    register = nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        register(module, name, parameter)
        if parameter is not None:
            module._parameters[name] = nn.Parameter(parameter.to("meta"), requires_grad=False)

    nn.Module.register_parameter = register_on_meta
    try:
        yield
    finally:
        nn.Module.register_parameter = register
