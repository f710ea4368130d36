"""The networks that become graphs, as rows: what goes in, what comes out, how exact it must be.

No torch here. A further family is a recipe in :mod:`sdopt.export.families` and perhaps more rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sdopt.bundle.manifest import Precision
from sdopt.bundle.tensors import TensorSpec
from sdopt.export import cases
from sdopt.export.settings import Config

FLOAT: dict[Precision, str] = {"fp32": "float32", "fp16": "float16"}

TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "fp16": 2e-2}
"""The largest relative L2 and the largest relative maximal error against torch in float32.

fp32: another order of summation gives 1e-6 to 1e-5 through 100 layers; a wrong constant, epsilon
or interpolation gives 1e-3 and more. fp16: 11 bits are 5e-4 per operation, and through 100 layers
1e-3 to 1e-2 were seen; an overflow or a missing cast gives 1e-1 or NaN.
"""


@dataclass(frozen=True, slots=True)
class ComponentRow:
    """One network of a bundle.

    Attributes:
        name: In the bundle, and of the wrapper in :mod:`sdopt.export.wrappers`.
        folder: Where its weights lie in the checkpoint.
        inputs: From the config and the graph's float type to the specs of its inputs.
        outputs: Likewise its outputs.
        cases: Inputs on which it is compared with torch.
        effort: Share of the time of an export, for progress; dimensionless.
    """

    name: str
    folder: str
    inputs: Callable[[Config, str], tuple[TensorSpec, ...]]
    outputs: Callable[[Config, str], tuple[TensorSpec, ...]]
    cases: Callable[[cases.Source], list[cases.Case]]
    effort: float


def _text_inputs(config: Config, dtype: str) -> tuple[TensorSpec, ...]:
    return (
        TensorSpec("input_ids", "int64", ("batch", config["max_position_embeddings"])),
        TensorSpec("concept_embeds", dtype, ("concepts", config["hidden_size"])),
    )


def _text_outputs(config: Config, dtype: str) -> tuple[TensorSpec, ...]:
    tokens, width = config["max_position_embeddings"], config["hidden_size"]
    layers = config["num_hidden_layers"]
    hidden = (f"hidden_states.{layer}" for layer in range(layers + 1))
    normed = (f"normed_hidden_states.{layer}" for layer in range(1, layers))
    return (
        TensorSpec("last_hidden_state", dtype, ("batch", tokens, width)),
        TensorSpec("pooler_output", dtype, ("batch", width)),
        *(TensorSpec(name, dtype, ("batch", tokens, width)) for name in (*hidden, *normed)),
    )


def _unet_inputs(config: Config, dtype: str) -> tuple[TensorSpec, ...]:
    channels, width = config["in_channels"], config["cross_attention_dim"]
    return (
        TensorSpec("sample", dtype, ("batch", channels, "latent_height", "latent_width")),
        TensorSpec("timestep", "float32", ("batch",)),
        TensorSpec("encoder_hidden_states", dtype, ("batch", "sequence", width)),
    )


def _unet_outputs(config: Config, dtype: str) -> tuple[TensorSpec, ...]:
    shape = ("batch", config["out_channels"], "latent_height", "latent_width")
    return (TensorSpec("out_sample", dtype, shape),)


def _decoder_inputs(config: Config, dtype: str) -> tuple[TensorSpec, ...]:
    shape = ("batch", config["latent_channels"], "latent_height", "latent_width")
    return (TensorSpec("latent_sample", dtype, shape),)


def _decoder_outputs(config: Config, dtype: str) -> tuple[TensorSpec, ...]:
    return (TensorSpec("sample", dtype, ("batch", config["out_channels"], "height", "width")),)


def _encoder_inputs(config: Config, dtype: str) -> tuple[TensorSpec, ...]:
    return (TensorSpec("sample", dtype, ("batch", config["in_channels"], "height", "width")),)


def _encoder_outputs(config: Config, dtype: str) -> tuple[TensorSpec, ...]:
    shape = ("batch", 2 * config["latent_channels"], "latent_height", "latent_width")
    return (TensorSpec("latent_parameters", dtype, shape),)


COMPONENTS: dict[str, ComponentRow] = {
    row.name: row
    for row in (
        ComponentRow(
            "text_encoder",
            "text_encoder",
            _text_inputs,
            _text_outputs,
            cases.text_encoder,
            effort=0.5,
        ),
        ComponentRow(
            "vae_encoder", "vae", _encoder_inputs, _encoder_outputs, cases.vae_encoder, effort=0.7
        ),
        ComponentRow(
            "vae_decoder", "vae", _decoder_inputs, _decoder_outputs, cases.vae_decoder, effort=1.0
        ),
        ComponentRow("unet", "unet", _unet_inputs, _unet_outputs, cases.unet, effort=6.0),
    )
}
