"""The two graphs with which a device runs the denoising loop: their tensors and their table.

The *head* makes the UNet's input of a step out of the latents that lie on the device, the *tail*
makes the next latents out of the UNet's answer. Both compute in float32 whatever the UNet does.

A row in progress has a *slot*, the same one from its admission to its end. Slot ``s`` owns the
entries ``s * STAGES`` and following of the table of coefficients, one for each stage of its plan,
and ``cursor[s]`` is the entry of the stage that comes next. So a row's whole plan goes up once, and
the tail itself moves on to the next stage.
"""

from __future__ import annotations

from dataclasses import dataclass

from sdopt.bundle.tensors import TensorSpec

Specs = tuple[TensorSpec, ...]

HEAD, TAIL = "loop_head", "loop_tail"
LOOP_GRAPHS = (HEAD, TAIL)
"""Their names among a bundle's components."""

STATE_ROWS = 5
"""K_MAX: state rows of every slot, latents and history. The largest K is UniPC's of order 3."""
STAGES = 2000
"""Entries of every slot: 1000 steps of two stages each."""

COLUMNS = {
    "timestep": 1,
    "guidance_scale": 1,
    "inputs": STATE_ROWS,
    "updates": (STATE_ROWS + 2) * STATE_ROWS,
    "denoised": STATE_ROWS + 1,
    "renoise": 2,
}
"""How many columns of the table each part takes, in order. ``updates`` is column after column of
the plan's matrix: what the first state row is multiplied by, for each new state row, and so on."""
WIDTH = sum(COLUMNS.values())


@dataclass(frozen=True, slots=True)
class UnetTensors:
    """What the loop graphs must know of a bundle's UNet.

    Attributes:
        latent_channels: Of the latents and of ``out_sample``.
        condition_channels: What ``sample`` has beside the latents: 0, or an inpainting UNet's.
        sample_dtype: NumPy's name of the type of ``sample``.
        output_dtype: Of ``out_sample``.
    """

    latent_channels: int
    condition_channels: int
    sample_dtype: str
    output_dtype: str

    @classmethod
    def of(cls, inputs: Specs, outputs: Specs, latent_channels: int) -> UnetTensors:
        """Read them off the UNet's inputs and outputs."""
        sample = next(spec for spec in inputs if spec.name == "sample")
        output = next(spec for spec in outputs if spec.name == "out_sample")
        more = int(sample.shape[1]) - latent_channels
        return cls(latent_channels, more, sample.dtype, output.dtype)


_SIZE = ("latent_height", "latent_width")


def dimensions(slots: int, latent_height: int, latent_width: int) -> dict[str, int]:
    """Return the sizes of the graphs' named dimensions in a loop of so many slots.

    ``batch`` is the largest: that of a step is whatever UNet rows there are.
    """
    return {
        "slots": slots,
        "entries": slots * STAGES,
        "batch": 2 * slots,
        "latent_height": latent_height,
        "latent_width": latent_width,
    }


def head_tensors(unet: UnetTensors) -> tuple[Specs, Specs]:
    """Return the inputs and outputs of the head.

    ``slot`` is the slot of each row of the UNet's batch, ``condition`` what an inpainting UNet
    takes beside the latents. ``timestep`` and ``sample`` are the UNet's.
    """
    channels = unet.latent_channels + unet.condition_channels
    condition = TensorSpec("condition", "float32", ("slots", unet.condition_channels, *_SIZE))
    inputs = (*_common(unet), TensorSpec("slot", "int32", ("batch",)))
    outputs = (
        TensorSpec("sample", unet.sample_dtype, ("batch", channels, *_SIZE)),
        TensorSpec("timestep", "float32", ("batch",)),
    )
    return ((*inputs, condition) if unet.condition_channels else inputs), outputs


def tail_tensors(unet: UnetTensors) -> tuple[Specs, Specs]:
    """Return the inputs and outputs of the tail.

    ``conditional`` and ``unconditional`` are the UNet rows of each slot, the same one twice
    without guidance; ``active`` is 1 for slots that step and 0 for those that stay as they are.
    ``known`` is the picture and the start noise that are put back where ``mask`` is 0.
    """
    channels = unet.latent_channels
    latents = ("slots", channels, *_SIZE)
    state = ("slots", STATE_ROWS, channels, *_SIZE)
    inputs = (
        TensorSpec("out_sample", unet.output_dtype, ("batch", channels, *_SIZE)),
        *_common(unet),
        TensorSpec("noise", "float32", latents),
        TensorSpec("known", "float32", ("slots", 2, channels, *_SIZE)),
        TensorSpec("mask", "float32", ("slots", 1, *_SIZE)),
        *(TensorSpec(n, "int32", ("slots",)) for n in ("conditional", "unconditional", "active")),
    )
    outputs = (
        TensorSpec("next_state", "float32", state),
        TensorSpec("next_cursor", "int32", ("slots",)),
        TensorSpec("denoised", "float32", latents),
        TensorSpec("latents_sum", "float32", ("slots",)),
    )
    return inputs, outputs


def _common(unet: UnetTensors) -> Specs:
    state = ("slots", STATE_ROWS, unet.latent_channels, *_SIZE)
    return (
        TensorSpec("coefficients", "float32", ("entries", WIDTH)),
        TensorSpec("cursor", "int32", ("slots",)),
        TensorSpec("state", "float32", state),
    )
