"""The UNet's buffers, made once for the largest batch, and its calls, one for each batch size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from sdopt.runtime.ports import Buffer, Call, Engine, dtype_of

B = TypeVar("B", bound=Buffer)

PROMPTS, OUTPUT = "encoder_hidden_states", "out_sample"


@dataclass(frozen=True, slots=True)
class LoopShapes:
    """What is the same for all rows of one loop.

    Attributes:
        latents: (channels, height/8, width/8).
        prompt: (length, dim) of the encoded prompts.
        max_rows: How many rows there are at most; guided ones count once.
        conditions: The UNet's further inputs, and the shape of one row of each.
    """

    latents: tuple[int, int, int]
    prompt: tuple[int, int]
    max_rows: int
    conditions: Mapping[str, tuple[int, ...]]


class UnetBatch(Generic[B]):
    """The UNet's buffers and calls.

    Attributes:
        sample: (batch, channels, height/8, width/8), with the channels of an inpainting UNet.
        timestep: (batch,).
        output: (batch, channels, height/8, width/8).
        conditions: The prompts and the UNet's further inputs by name, each (batch, ...).
    """

    def __init__(
        self, unet: Engine, shapes: LoopShapes, empty: Callable[[tuple[int, ...], str], B]
    ) -> None:
        """Allocate the buffers with ``empty(shape, dtype)``."""
        self._unet = unet
        buffers = {
            name: empty((2 * shapes.max_rows, *shape), dtype_of(unet, name))
            for name, shape in row_shapes(unet, shapes).items()
        }
        self.sample, self.timestep, self.output = map(buffers.pop, ("sample", "timestep", OUTPUT))
        self.conditions = buffers
        self._calls: dict[int, Call] = {}

    def call(self, batch: int) -> Call:
        """Return the call for a batch size, bound to the beginning of the buffers."""
        if batch not in self._calls:
            buffers: dict[str, Buffer] = {
                "sample": self.sample,
                "timestep": self.timestep,
                OUTPUT: self.output,
                **self.conditions,
            }
            parts = {name: whole[:batch] for name, whole in buffers.items()}
            self._calls[batch] = self._unet.bind(parts)
        return self._calls[batch]


def row_shapes(unet: Engine, shapes: LoopShapes) -> dict[str, tuple[int, ...]]:
    """Return the shape of one row of each of a UNet's inputs, and of its output."""
    return {
        "sample": (input_channels(unet), *shapes.latents[1:]),
        "timestep": (),
        OUTPUT: shapes.latents,
        PROMPTS: shapes.prompt,
        **shapes.conditions,
    }


def input_channels(unet: Engine) -> int:
    """Return how many channels a UNet's ``sample`` has."""
    return int(next(spec.shape[1] for spec in unet.inputs if spec.name == "sample"))
