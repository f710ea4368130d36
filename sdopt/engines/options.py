"""What an engine is opened with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.loop_graphs import LOOP_GRAPHS
from sdopt.engines.size_bucket import SizeBucket
from sdopt.engines.store import EngineStore

Loop = Literal["auto", "host", "device"]
LOOPS: tuple[str, ...] = get_args(Loop)
Batching = Literal["exact", "fast"]
BATCHINGS: tuple[str, ...] = get_args(Batching)
VaeTiling = Literal["auto", "on", "off"]
"""Whether pictures larger than a tile go through the VAE in tiles; auto where memory is short."""


@dataclass(frozen=True, slots=True)
class LatentShape:
    """Of the latents that a UNet is compiled for.

    Attributes:
        rows: In each call.
        height: In latents.
        width: In latents.
    """

    rows: int
    height: int
    width: int

    @classmethod
    def of(cls, bundle: Bundle, bucket: SizeBucket) -> LatentShape:
        """Return the shape for the most pictures of a bucket, with guidance if the bundle means it.

        Raises:
            InvalidSizeError: The VAE's factor does not divide a side.
        """
        factor, defaults = bundle.manifest.vae_scale_factor, bundle.manifest.defaults
        bucket.check(factor)
        guided = bundle.family.guidance == "classifier_free" and defaults.guidance_scale > 1
        rows = (2 if guided else 1) * bucket.max_images
        return cls(rows, bucket.height // factor, bucket.width // factor)

    def __str__(self) -> str:
        """Write as ``2x64x64``."""
        return f"{self.rows}x{self.height}x{self.width}"


@dataclass(frozen=True, slots=True)
class Model:
    """A component as it lies on disk.

    Attributes:
        name: The component's name, for messages.
        path: Its ONNX file.
        sha256: Of graph and weights together; empty where it is not known. What is built from a
            model without one is not stored.
        precision: What the graph computes in, ``"fp32"``, ``"fp16"`` or ``"bf16"``.
        exact: Whether it must be computed in just that, whatever the options ask for.
        shape: Of the latents that it gets, where it is a UNet that gets no other; None for any.
    """

    name: str
    path: Path
    sha256: str = ""
    precision: str = "fp32"
    exact: bool = False
    shape: LatentShape | None = None

    @classmethod
    def of(cls, bundle: Bundle, name: str, fixed_size: SizeBucket | None = None) -> Model:
        """Describe a component of a bundle.

        Args:
            bundle: What it is part of.
            name: Of the component.
            fixed_size: Of all pictures, where there is one.

        Raises:
            ManifestError: The bundle has no component of this name.
            InvalidSizeError: The VAE's factor does not divide a side.
        """
        fixed = fixed_size if name == "unet" else None
        return cls(
            name,
            bundle.component_path(name),
            bundle.component_sha256(name),
            bundle.component(name).precision,
            exact=name in LOOP_GRAPHS,
            shape=None if fixed is None else LatentShape.of(bundle, fixed),
        )


def components(bundle: Bundle) -> list[Model]:
    """Describe every component of a bundle."""
    return [Model.of(bundle, name) for name in bundle.manifest.components]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How a component is loaded.

    Attributes:
        device: ``"cpu"``, ``"gpu"`` (Intel) or ``"cuda"`` (NVIDIA).
        precision: What to compute in, such as ``"bf16"``; None for the fastest that the backend
            has on this device.
        threads: Threads within one operator; None for one per core that the process may use.
        store: Where built engines are kept.
        frugal: Whether weights stay as they lie on disk, mapped, and are widened one by one where
            they are used: less memory, and slower. None leaves it to the backend; only ONNX Runtime
            has it, and takes it for networks whose weights are large.
        batching: On a GPU, ``"exact"`` always computes the same number of UNet rows, so that a
            picture is the same alone and in company; ``"fast"`` computes those that there are, and
            a picture's last bits depend on how many there were. On the CPU they are the same for
            ONNX Runtime but for frugal networks; those, and what OpenVINO runs, ``"exact"``
            computes row by row until larger calls were seen to give the same bits.
        fixed_size: The one size of pictures that the UNet is compiled for, and how many of them it
            computes at once; None for any size. OpenVINO is faster so.
    """

    device: str = "cpu"
    precision: str | None = None
    threads: int | None = None
    store: EngineStore = field(default_factory=EngineStore)
    frugal: bool | None = None
    batching: Batching = "exact"
    fixed_size: SizeBucket | None = None

    def of(self, model: Model) -> EngineOptions:
        """Return what one component is opened with: its own precision where that must be kept."""
        return replace(self, precision=model.precision) if model.exact else self
