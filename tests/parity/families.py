"""Tiny checkpoints of every family on both sides: diffusers' pipeline, and ours on its export.

Tolerance as in test_diffusers_parity.py: another order of summation stays far below one 8-bit level
but for pixels that lie on a rounding edge.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sdopt
from sdopt.pipeline import Pipeline

torch = pytest.importorskip("torch", reason="needs sdopt[export]")

ROOT = Path(__file__).parents[2]
MEAN_TOLERANCE, MAX_TOLERANCE = 0.5, 3
PROMPT, SEED = "a large red circle on a blue background", 3
HALF = "sdxl-fp16"
COMMON = ("sd2", "sd_turbo", "lcm", "sdxl", "sdxl_turbo", "sdxl_refiner", "sd1_inpainting")
RARE = ("sd1", "sd2_base", "sd2_inpainting", "sdxl_lcm", "sdxl_inpainting")


@dataclass
class Family:
    """A tiny checkpoint of a family on both sides."""

    checkpoint: Path
    ours: Pipeline
    theirs: Any = field(init=False)

    def __post_init__(self) -> None:
        import diffusers

        family = self.ours.bundle.family
        # The second is that for image to image.
        name = family.pipeline_classes[1 if family.task == "image_to_image" else 0]
        kind = getattr(diffusers, name)
        unused = {} if family.pooled else {"safety_checker": None}
        self.theirs = kind.from_pretrained(
            self.checkpoint, dtype=torch.float32, local_files_only=True, **unused
        )
        self.theirs.set_progress_bar_config(disable=True)

    def difference(self, seed_shift: int = 0, **options: Any) -> Any:
        """Return how far the two pictures are apart, 0 to 255, pixel by pixel."""
        ours = np.asarray(self.ours(PROMPT, seed=SEED, **options).images[0])
        generator = torch.Generator("cpu").manual_seed(SEED + seed_shift)
        theirs = np.asarray(self.theirs(PROMPT, generator=generator, **options).images[0])
        assert ours.shape == theirs.shape
        return np.abs(ours.astype(int) - theirs.astype(int))


def export(names: tuple[str, ...], folder: Path) -> None:
    """Write tiny checkpoints of these names, and their bundles, into a folder."""
    script = ROOT / "tests" / "export" / "export_families.py"
    subprocess.run([sys.executable, script, folder, *names], check=True, capture_output=True)


def opened(folder: Path, names: tuple[str, ...]) -> dict[str, Family]:
    """Load what :func:`export` has written, on both sides."""
    return {
        name: Family(folder / name / "checkpoint", sdopt.load(folder / name / "bundle"))
        for name in names
    }
