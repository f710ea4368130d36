"""What stays in fp32 in a graph of fewer bits, as rows: where, in which checkpoints, and why.

No torch and no onnx here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sdopt.bundle.families import FAMILIES
from sdopt.bundle.manifest import Precision
from sdopt.export.settings import Configs


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Which nodes of a graph an island holds: all that any of its fields names.

    Attributes:
        modules: Class names of torch's modules: the nodes that they were traced to.
        inputs: Names of the graph's inputs: what is computed of them before the first matrix
            product.
        scores: Whether attention's scores belong to it: from the product of Q and K to the softmax.
    """

    modules: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    scores: bool = False


@dataclass(frozen=True, slots=True)
class Switch:
    """A setting of a network's config.json that must be on.

    Attributes:
        setting: Its name.
        absent: What it is where the config does not say.
    """

    setting: str
    absent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Island:
    """A part of networks that computes in fp32 where the rest computes in fewer bits.

    Attributes:
        name: As in manifests and on the command line.
        reason: What goes wrong without it, for people.
        precisions: In which precisions it is needed.
        region: Which nodes; None for whole networks.
        folder: Whose networks, as a folder of the checkpoint; None for all.
        switch: What the network's config must say; None for nothing.
        families: Names of families; None for all.
    """

    name: str
    reason: str
    precisions: tuple[Precision, ...]
    region: Region | None
    folder: str | None = None
    switch: Switch | None = None
    families: tuple[str, ...] | None = None


ISLANDS: dict[str, Island] = {
    island.name: island
    for island in (
        Island(
            name="vae",
            reason="SDXL's VAE was trained without a bound on its activations: they reach 1e5, "
            "where float16 ends at 65504, and pictures turn black. bf16 reaches as far as fp32",
            precisions=("fp16",),
            region=None,
            folder="vae",
            switch=Switch("force_upcast", absent=True),
            families=tuple(name for name, family in FAMILIES.items() if family.pooled),
        ),
        Island(
            name="attention_scores",
            reason="The checkpoint asks for it (upcast_attention, as Stable Diffusion 2.1 does): "
            "its scores can pass 65504 even where Q is scaled before the product. bf16 reaches as "
            "far as fp32",
            precisions=("fp16",),
            region=Region(scores=True),
            folder="unet",
            switch=Switch("upcast_attention", absent=False),
        ),
        Island(
            name="norm_statistics",
            reason="A variance is a mean of squares: beyond 256 a square passes 65504 in fp16, and "
            "in bf16 the steps of a norm, of 8 bits each, doubled the error of a trained VAE",
            precisions=("fp16", "bf16"),
            region=Region(modules=("GroupNorm", "LayerNorm")),
        ),
        Island(
            name="timestep_embedding",
            reason="Timesteps and sizes become angles of up to 1000 radians and more: bf16 cannot "
            "tell 980 from 981, and fp16 is off by up to a quarter of a radian",
            precisions=("fp16", "bf16"),
            region=Region(inputs=("timestep", "time_ids")),
            folder="unet",
        ),
    )
}
"""By name. :func:`islands_of` picks those of a network. A tiny model that overflows or loses parity
without each of them is in the tests."""


def islands_of(
    source: Configs, folder: str, precision: Precision, without: Collection[str] = ()
) -> tuple[Island, ...]:
    """Return the islands of a folder's networks: one alone where it is all of them.

    Args:
        source: The checkpoint's family and configs.
        folder: Of the checkpoint, such as ``"unet"``.
        precision: What was asked for.
        without: Names of islands that are left out all the same.
    """
    found = tuple(
        island
        for island in ISLANDS.values()
        if precision in island.precisions
        and island.name not in without
        and island.folder in (None, folder)
        and (island.families is None or source.family.name in island.families)
        and (island.switch is None or _is_on(island.switch, source, folder))
    )
    return tuple(island for island in found if island.region is None)[:1] or found


def computed_in(asked: Precision, islands: Collection[Island]) -> Precision:
    """Return what a network computes in: fp32 where one of its islands is all of it."""
    return "fp32" if any(island.region is None for island in islands) else asked


def _is_on(switch: Switch, source: Configs, folder: str) -> bool:
    value = source.config(folder).get(switch.setting)
    return switch.absent if value is None else bool(value)
