"""How engines are built."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sdopt.engines.size_bucket import SizeBucket
from sdopt.engines.store import EngineStore
from sdopt.errors import InvalidValueError

_UNITS = {"B": 1, "MiB": 1 << 20, "GiB": 1 << 30}
MAX_LEVEL = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What the user may say about a build.

    Attributes:
        profiles: Sizes and numbers of pictures; none means the bundle's own size, one picture.
        workspace_bytes: How much of the GPU's memory the builder may use beside weights; None for
            all of it.
        optimization_level: 0 to 5: how long to look for faster kernels.
        refit: Let weights be exchanged later.
        strip: Leave the weights out of the engine's file; they are put in from the bundle's ONNX
            file when it is loaded.
        version_compatible: Let later versions of TensorRT run it, at some loss of speed.
        weight_streaming: Let weights stay in the host's memory where the GPU's is too small.
        timing_cache: Where measured times of kernels are kept; None for a file for each GPU and
            version in sdopt's cache folder.
        self_test: Compare each new engine with torch's outputs in the bundle.
        store: Where built engines are kept.
    """

    profiles: tuple[SizeBucket, ...] = ()
    workspace_bytes: int | None = None
    optimization_level: int = 3
    refit: bool = False
    strip: bool = False
    version_compatible: bool = False
    weight_streaming: bool = False
    timing_cache: Path | None = None
    self_test: bool = True
    store: EngineStore = field(default_factory=EngineStore)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InvalidValueError: One is not allowed.
        """
        if self.optimization_level not in range(MAX_LEVEL + 1):
            level = self.optimization_level
            raise InvalidValueError("optimization_level", level, f"0 to {MAX_LEVEL}")
        if self.workspace_bytes is not None and self.workspace_bytes < 1:
            raise InvalidValueError("workspace", self.workspace_bytes, "at least 1 byte")

    def words(self) -> Mapping[str, str]:
        """Return, for the key, what makes one engine differ from another."""
        space = self.workspace_bytes
        said = {
            "workspace": "all" if space is None else f"{space} B",
            "optimization_level": str(self.optimization_level),
        }
        flags = ("refit", "strip", "version_compatible", "weight_streaming")
        return said | {flag: "yes" for flag in flags if getattr(self, flag)}


def parse_bytes(text: str) -> int:
    """Read an amount of memory, such as ``8GiB`` or ``512MiB``.

    Raises:
        InvalidValueError: It is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(B|MiB|GiB)", text.strip())
    if match is None:
        raise InvalidValueError("workspace", text, "an amount of memory, such as 8GiB or 512MiB")
    return int(float(match[1]) * _UNITS[match[2]])
