"""Quality beside speed: what the carried model still gets right when it is made faster.

    python -m benchmarks.quality RECORD.json [--side onnxruntime:fp32 --side openvino:bf16 …]
        [--steps 2,4,8,20] [--prompts 100]

One hundred prompts whose combination of shape and colours never occurred in training; pictures are
judged from their pixels (tests/shapes_checker.py). Every picture is made alone, and all sides take
turns at each prompt. PSNR is against the first side at the same number of steps.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import sdopt
from models.shapes.judge import GUIDANCE_SCALE, judge
from models.shapes.prompts import ShapesPrompt, held_out_prompts
from sdopt.bench.compare import psnr_db
from sdopt.bench.environment import environment
from sdopt.bench.peers.talk import versions
from sdopt.bench.quality_record import QualityRecord, QualityRow
from sdopt.bench.record import now, read_record, rounded, write_record
from sdopt.bench.work import whole_numbers
from sdopt.bench.worker import PACKAGES
from sdopt.pipeline import Pipeline

SIDES = ("onnxruntime:fp32", "openvino:fp32", "openvino:bf16")


class Side:
    """An engine in a precision, and the pictures that it has made."""

    def __init__(self, name: str) -> None:
        self.engine, _, precision = name.partition(":")
        self.pipeline: Pipeline = sdopt.load("shapes", engine=self.engine, precision=precision)
        self.images: dict[int, list[Image.Image]] = {}
        self.walls_s: dict[int, list[float]] = {}

    def draw(self, prompt: str, seed: int, steps: int) -> None:
        """Make one picture, and keep it."""
        begin = time.perf_counter()
        result = self.pipeline(
            prompt, num_inference_steps=steps, guidance_scale=GUIDANCE_SCALE, seed=seed
        )
        self.walls_s.setdefault(steps, []).append(time.perf_counter() - begin)
        self.images.setdefault(steps, []).append(result.images[0])

    def row(self, exact: Side, prompts: Sequence[ShapesPrompt], steps: int) -> QualityRow:
        """Judge what was made with so many steps."""
        images = self.images[steps]
        distances = [
            psnr_db(np.asarray(ours), np.asarray(theirs))
            for ours, theirs in zip(images, exact.images[steps], strict=True)
        ]
        return QualityRow(
            engine=self.engine,
            precision=self.pipeline.precisions["unet"],
            num_inference_steps=steps,
            right=judge(images, prompts).all_three,
            psnr_db=tuple(rounded(distances)),
            walls_s=tuple(rounded(self.walls_s[steps])),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("record", type=Path)
    parser.add_argument("--side", action="append", help=f"Default: {' '.join(SIDES)}")
    parser.add_argument("--steps", default="2,4,8,20")
    parser.add_argument("--prompts", type=int, default=100)
    options = parser.parse_args()
    counts = whole_numbers("steps", options.steps)
    prompts = held_out_prompts()[: options.prompts]
    here, made_at = environment(), now()
    sides = [Side(name) for name in options.side or SIDES]
    for side in sides:
        side.pipeline.warmup()
    for seed, prompt in enumerate(prompts):
        for steps in counts:
            for side in sides if seed % 2 else reversed(sides):
                side.draw(prompt.prompt, seed, steps)
    record = QualityRecord(
        kind="quality",
        format_version=1,
        made_at=made_at,
        command=("python", "-m", "benchmarks.quality", *sys.argv[1:]),
        environment=here.of(versions(PACKAGES)),
        bundle="shapes",
        prompts=f"shapes, {len(prompts)} prompts that never occurred in training",
        exact=f"{sides[0].engine} {sides[0].pipeline.precisions['unet']}",
        rows=tuple(side.row(sides[0], prompts, steps) for side in sides for steps in counts),
    )
    write_record(record, options.record)
    for name, figures in read_record(QualityRecord, options.record).figures().items():
        print(name, figures)


if __name__ == "__main__":
    main()
