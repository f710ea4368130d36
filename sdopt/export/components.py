"""The networks that become graphs, as rows: what goes in, what comes out, how exact it must be.

No torch here. A family with a network of a new kind needs a further row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sdopt.bundle.manifest import Precision
from sdopt.bundle.tensors import TensorSpec
from sdopt.export import cases
from sdopt.export.settings import Configs, unet_conditions

DOORS: dict[Precision, str] = {"fp32": "float32", "fp16": "float16", "bf16": "float32"}
"""What the inputs and outputs of a graph are. NumPy and safetensors for NumPy have no bfloat16, and
every bfloat16 is a float32: so the runtime's own numbers go in and out as they are, and the casts
are the graph's first and last nodes. float16 would not reach as far as what is inside."""

TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 1e-1}
"""The largest relative L2 and the largest relative maximal error against torch in float32.

fp32: another order of summation gives 1e-6 to 1e-5 through 100 layers; a wrong constant, epsilon
or interpolation gives 1e-3 and more. fp16: 11 bits are 5e-4 per operation, and through 100 layers
1e-3 to 1e-2 were seen; an overflow or a missing cast gives 1e-1 or NaN. bf16: 8 bits are eight
times as much; 2e-2 in relative L2 and 7e-2 at the worst pixel of a trained VAE were seen.
"""

Specs = Callable[[Configs, str], tuple[TensorSpec, ...]]


@dataclass(frozen=True, slots=True)
class ComponentRow:
    """One network of a bundle.

    Attributes:
        name: In the bundle, and of the wrapper in :mod:`sdopt.export.wrappers`.
        folder: Where its weights lie in the checkpoint.
        inputs: From the checkpoint's configs and the graph's float type to the specs of its inputs.
        outputs: Likewise its outputs.
        cases: Inputs on which it is compared with torch.
        effort: Share of the time of an export, for progress; dimensionless.
    """

    name: str
    folder: str
    inputs: Specs
    outputs: Specs
    cases: Callable[[cases.Source], list[cases.Case]]
    effort: float


def _text_inputs(folder: str) -> Specs:
    def inputs(source: Configs, dtype: str) -> tuple[TensorSpec, ...]:
        config = source.config(folder)
        return (
            TensorSpec("input_ids", "int64", ("batch", config["max_position_embeddings"])),
            TensorSpec("concept_embeds", dtype, ("concepts", config["hidden_size"])),
        )

    return inputs


def _text_outputs(source: Configs, dtype: str) -> tuple[TensorSpec, ...]:
    config = source.config("text_encoder")
    normed = (f"normed_hidden_states.{layer}" for layer in range(1, config["num_hidden_layers"]))
    return (
        _tokens("last_hidden_state", source, "text_encoder", dtype),
        TensorSpec("pooler_output", dtype, ("batch", config["hidden_size"])),
        *(
            _tokens(name, source, "text_encoder", dtype)
            for name in (*_hidden_states(source, "text_encoder"), *normed)
        ),
    )


def _projected_outputs(source: Configs, dtype: str) -> tuple[TensorSpec, ...]:
    folder = "text_encoder_2"
    names = ("last_hidden_state", *_hidden_states(source, folder))
    return (
        TensorSpec("text_embeds", dtype, ("batch", source.config(folder)["projection_dim"])),
        *(_tokens(name, source, folder, dtype) for name in names),
    )


def _hidden_states(source: Configs, folder: str) -> list[str]:
    layers = source.config(folder)["num_hidden_layers"]
    return [f"hidden_states.{layer}" for layer in range(layers + 1)]


def _tokens(name: str, source: Configs, folder: str, dtype: str) -> TensorSpec:
    config = source.config(folder)
    return TensorSpec(
        name, dtype, ("batch", config["max_position_embeddings"], config["hidden_size"])
    )


def _unet_inputs(source: Configs, dtype: str) -> tuple[TensorSpec, ...]:
    config = source.config("unet")
    channels, width = config["in_channels"], config["cross_attention_dim"]
    return (
        TensorSpec("sample", dtype, ("batch", channels, "latent_height", "latent_width")),
        TensorSpec("timestep", "float32", ("batch",)),
        TensorSpec("encoder_hidden_states", dtype, ("batch", "sequence", width)),
        *(_condition(name, source, dtype) for name in unet_conditions(config)),
    )


def _condition(name: str, source: Configs, dtype: str) -> TensorSpec:
    """Give the spec of an input that some UNets have, one row for each row of the batch.

    ``time_ids`` are sizes in pixels, which float16 rounds from 2048 on: as timesteps they stay
    float32.
    """
    unet, pooled = source.config("unet"), source.family.pooled
    if name == "time_ids":
        return TensorSpec(name, "float32", ("batch", source.family.num_time_ids))
    if name == "timestep_cond":
        return TensorSpec(name, dtype, ("batch", unet["time_cond_proj_dim"]))
    assert pooled is not None
    return TensorSpec(name, dtype, ("batch", source.config(pooled.component)["projection_dim"]))


def _unet_outputs(source: Configs, dtype: str) -> tuple[TensorSpec, ...]:
    channels = source.config("unet")["out_channels"]
    shape = ("batch", channels, "latent_height", "latent_width")
    return (TensorSpec("out_sample", dtype, shape),)


def _decoder_inputs(source: Configs, dtype: str) -> tuple[TensorSpec, ...]:
    channels = source.config("vae")["latent_channels"]
    shape = ("batch", channels, "latent_height", "latent_width")
    return (TensorSpec("latent_sample", dtype, shape),)


def _decoder_outputs(source: Configs, dtype: str) -> tuple[TensorSpec, ...]:
    channels = source.config("vae")["out_channels"]
    return (TensorSpec("sample", dtype, ("batch", channels, "height", "width")),)


def _encoder_inputs(source: Configs, dtype: str) -> tuple[TensorSpec, ...]:
    channels = source.config("vae")["in_channels"]
    return (TensorSpec("sample", dtype, ("batch", channels, "height", "width")),)


def _encoder_outputs(source: Configs, dtype: str) -> tuple[TensorSpec, ...]:
    channels = 2 * source.config("vae")["latent_channels"]
    shape = ("batch", channels, "latent_height", "latent_width")
    return (TensorSpec("latent_parameters", dtype, shape),)


COMPONENTS: dict[str, ComponentRow] = {
    row.name: row
    for row in (
        ComponentRow(
            "text_encoder",
            "text_encoder",
            _text_inputs("text_encoder"),
            _text_outputs,
            partial(cases.text_encoder, "text_encoder"),
            effort=0.5,
        ),
        ComponentRow(
            "text_encoder_2",
            "text_encoder_2",
            _text_inputs("text_encoder_2"),
            _projected_outputs,
            partial(cases.text_encoder, "text_encoder_2"),
            effort=1.5,
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
