"""What `generate` and `demo` share: run a request under a progress bar, and write its pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sdopt.cli.progress import progress_bar
from sdopt.pipeline import Pipeline
from sdopt.runtime.generation import Result
from sdopt.runtime.images import contact_sheet, save_png
from sdopt.runtime.latent_file import save_latents
from sdopt.runtime.request import GenerationRequest


def run_with_progress(pipeline: Pipeline, request: GenerationRequest) -> Result:
    """Carry a request out under a progress bar."""
    generation = pipeline.start(request)
    with progress_bar("Encoding prompts") as report:
        for step in generation:
            report(f"Step {step.completed} of {step.total}", step.completed / step.total)
    return generation.result


def save_pictures(result: Result, output: Path) -> list[Path]:
    """Write a result's pictures as PNG files that carry their settings, or its latents.

    One picture is written to ``output``. Several are written to numbered siblings, and ``output``
    becomes their contact sheet.

    Returns:
        The files written, the sheet (if any) last.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    if result.request.output_type == "latent":
        save_latents(np.stack(result.latents), output, result.settings(0))
        return [output]
    if len(result.images) == 1:
        save_png(result.images[0], output, result.settings(0))
        return [output]
    paths = numbered(output, len(result.images))
    for index, (image, path) in enumerate(zip(result.images, paths, strict=True)):
        save_png(image, path, result.settings(index))
    first = result.settings(0) | {
        "prompt": list(result.request.prompts),
        "seed": list(result.seeds),
    }
    save_png(contact_sheet(result.images), output, first)
    return [*paths, output]


def numbered(path: Path, count: int) -> list[Path]:
    """Return siblings of a path with numbers in their names."""
    digits = max(2, len(str(count - 1)))
    return [path.with_name(f"{path.stem}-{i:0{digits}}{path.suffix}") for i in range(count)]


def summary(result: Result, paths: Sequence[Path]) -> dict[str, object]:
    """Describe a result as JSON data."""
    timings = dataclasses.asdict(result.timings) | {"overhead_ms": result.timings.overhead_ms}
    return {
        "images": [
            result.settings(index) | {"path": str(paths[min(index, len(paths) - 1)])}
            for index in range(len(result.seeds))
        ],
        "sheet": str(paths[-1]) if len(paths) > len(result.seeds) else None,
        "timings": {name: round(value, 3) for name, value in timings.items()},
    }
