"""Judge pictures of the held-out prompts: one function for diffusers' pictures and for sdopt's.

Run: python -m models.shapes.judge [--guidance-scale 3.0] [--known] [--sheet PNG]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from models.shapes.prompts import ShapesPrompt, held_out_prompts, known_prompts
from tests.shapes_checker import read_picture

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

CHECKPOINT = Path(__file__).parent / "checkpoint"
NUM_INFERENCE_STEPS = 20
GUIDANCE_SCALE = 3.0


@dataclass(frozen=True)
class Accuracy:
    """How many of `total` pictures are right in each attribute, and in all three."""

    total: int
    background: int
    shape_colour: int
    shape: int
    all_three: int

    def as_row(self) -> dict[str, float]:
        """Return the fraction of each, from 0 to 1."""
        names = ("background", "shape_colour", "shape", "all_three")
        return {name: getattr(self, name) / self.total for name in names}

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.1%}" for name, value in self.as_row().items())


def judge(images: Sequence[Image.Image], prompts: Sequence[ShapesPrompt]) -> Accuracy:
    """Compare what each picture shows with what its prompt asked for."""
    hits = []
    for image, prompt in zip(images, prompts, strict=True):
        wanted = (prompt.background, prompt.shape_colour, prompt.shape)
        seen = read_picture(image)
        hits.append([a == b for a, b in zip(seen, wanted, strict=True)])
    columns = [sum(column) for column in zip(*hits, strict=True)]
    return Accuracy(len(hits), *columns, all_three=sum(all(row) for row in hits))


def generate(
    pipeline: StableDiffusionPipeline,
    prompts: Sequence[ShapesPrompt],
    *,
    guidance_scale: float = GUIDANCE_SCALE,
    batch_size: int = 25,
) -> list[Image.Image]:
    """Make one picture for each prompt with diffusers; the seed is the prompt's index."""
    import torch  # noqa: PLC0415  (judging needs no torch, only this does)

    pipeline.set_progress_bar_config(disable=True)
    images: list[Image.Image] = []
    for start in range(0, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        seeds = range(start, start + len(batch))
        images += pipeline(
            [prompt.prompt for prompt in batch],
            num_inference_steps=NUM_INFERENCE_STEPS,
            guidance_scale=guidance_scale,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
        ).images
    return images


def main() -> None:
    """Judge the checkpoint through diffusers in float32 and print the accuracies."""
    import torch  # noqa: PLC0415  (see `generate`)
    from diffusers import StableDiffusionPipeline  # noqa: PLC0415

    from models.shapes.pictures import contact_sheet  # noqa: PLC0415

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--guidance-scale", type=float, default=GUIDANCE_SCALE)
    parser.add_argument("--known", action="store_true", help="prompts of trained combinations")
    parser.add_argument("--sheet", type=Path, help="where to write a PNG of all pictures")
    arguments = parser.parse_args()
    pipeline = StableDiffusionPipeline.from_pretrained(CHECKPOINT, dtype=torch.float32)
    prompts = known_prompts() if arguments.known else held_out_prompts()
    images = generate(pipeline, prompts, guidance_scale=arguments.guidance_scale)
    print(judge(images, prompts))
    if arguments.sheet is not None:
        contact_sheet(images, columns=10).save(arguments.sheet)


if __name__ == "__main__":
    main()
