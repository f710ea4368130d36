"""How much memory a bundle will take on an engine, before anything of it is loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdopt.bundle.bundle import Bundle
from sdopt.errors import InsufficientMemoryError

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_ATTENDING = "CrossAttn"
_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a backend takes, as measured on Stable Diffusion 1.5 at 256², 384² and 512².

    Attributes:
        base_bytes: The process without any component.
        weights: Bytes of its own per byte of graph and weights on disk.
        mapped: Bytes of the page cache per byte on disk, which the system can take back.
        scores: How many copies of the UNet's largest attention scores are alive at once.
        vae_values: float32 values per pixel and channel of the VAE's widest layer.
        widened_below_bytes: Weights of fp16 graphs up to this size on disk become float32.
    """

    base_bytes: float
    weights: float
    mapped: float
    scores: float
    vae_values: float
    widened_below_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """What a pipeline will take, in bytes.

    Attributes:
        weights_bytes: Weights, and what the backend makes of them.
        working_bytes: Activations of the largest request, and the process itself.
        mapped_bytes: Weights in the page cache, which the system can take back.
    """

    weights_bytes: int
    working_bytes: int
    mapped_bytes: int

    @property
    def needed_bytes(self) -> int:
        """What must be free: weights and working memory."""
        return self.weights_bytes + self.working_bytes


def estimate(
    bundle: Bundle,
    footprint: Footprint,
    *,
    height: int | None = None,
    width: int | None = None,
    rows: int = 1,
    most_vae_pixels: int | None = None,
) -> MemoryEstimate:
    """Estimate what a pipeline takes for guided requests of one size.

    Args:
        bundle: What will be loaded. The VAE's encoder is not.
        footprint: Of the engine.
        height: In pixels; None for the bundle's own.
        width: In pixels; None for the bundle's own.
        rows: How many pictures are denoised together.
        most_vae_pixels: Of a tile, where larger pictures go through the VAE in tiles.
    """
    names = [name for name in bundle.manifest.components if name != "vae_encoder"]
    on_disk = sum(bundle.component_bytes(name) for name in names)
    widened = sum(_widened_bytes(bundle, name, footprint.widened_below_bytes) for name in names)
    defaults, factor = bundle.manifest.defaults, bundle.manifest.vae_scale_factor
    height, width = height or defaults.height, width or defaults.width
    latents = (height // factor) * (width // factor)
    scores = 2 * rows * _largest_scores(_config(bundle, "unet"), latents) * footprint.scores
    pixels = min(height * width, most_vae_pixels or height * width)
    return MemoryEstimate(
        weights_bytes=int((on_disk + widened) * footprint.weights),
        working_bytes=int(footprint.base_bytes + _FLOAT_BYTES * scores)
        + vae_bytes(bundle, footprint, pixels),
        mapped_bytes=int(on_disk * footprint.mapped),
    )


def vae_bytes(bundle: Bundle, footprint: Footprint, pixels: int) -> int:
    """Estimate what the VAE takes for one picture, or one tile, of so many pixels."""
    values = pixels * _widest_picture(_config(bundle, "vae")) * footprint.vae_values
    return int(_FLOAT_BYTES * values)


def together(estimates: Sequence[MemoryEstimate]) -> MemoryEstimate:
    """Estimate what pipelines take that are loaded together and run one after the other."""
    return MemoryEstimate(
        weights_bytes=sum(each.weights_bytes for each in estimates),
        working_bytes=max(each.working_bytes for each in estimates),
        mapped_bytes=sum(each.mapped_bytes for each in estimates),
    )


def check(needed: MemoryEstimate) -> None:
    """Refuse to load what does not fit.

    Raises:
        InsufficientMemoryError: More is needed than is available.
    """
    if needed.needed_bytes > (available := available_bytes()):
        raise InsufficientMemoryError(needed.needed_bytes, available)


def available_bytes() -> int:
    """Return how much memory this process may still take: the system's or its container's.

    Where neither is told (not on Linux), it is as much as can be addressed.
    """
    free = [_system_bytes(), _container_bytes()]
    return min((found for found in free if found is not None), default=2**63 - 1)


def _system_bytes() -> int | None:
    if not _MEMINFO.is_file():
        return None
    lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines() if ":" in line)
    kilobytes = lines.get("MemAvailable", "").removesuffix("kB").strip()
    return int(kilobytes) * 1024 if kilobytes.isdigit() else None


def _container_bytes() -> int | None:
    """Return what a limited container has left; pages of files that it reads do not count."""
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        rows = (line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        statistics = {name: int(value) for name, value in rows}
    except (OSError, ValueError):  # no container, or "max": no limit
        return None
    return limit - used + statistics.get("inactive_file", 0) + statistics.get("active_file", 0)


def _widened_bytes(bundle: Bundle, name: str, below_bytes: float) -> int:
    """Return what float32 takes beyond the 16 bits in which a component's weights lie on disk."""
    size = bundle.component_bytes(name)
    return size if bundle.component(name).precision == "fp16" and size <= below_bytes else 0


def _config(bundle: Bundle, component: str) -> Any:
    """Read a config; of other tools' folders without one, what networks need is not estimated."""
    path = bundle.path / component / "config.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _widest_picture(vae: Any) -> int:
    """Return how many channels the VAE has at the size of the picture."""
    return int(vae.get("block_out_channels", (0,))[0])


def _largest_scores(unet: Any, latents: int) -> int:
    """Return how many attention scores the UNet's highest level with attention has for one row.

    diffusers calls the number of heads ``attention_head_dim``; it may differ from level to level.
    """
    blocks = unet.get("down_block_types", ())
    level = next((i for i, block in enumerate(blocks) if _ATTENDING in block), None)
    if level is None:
        return 0
    heads = unet.get("num_attention_heads") or unet["attention_head_dim"]
    tokens = latents // 4**level
    return int((heads[level] if isinstance(heads, list) else heads) * tokens**2)
