"""Whether a server's pictures are those that a pipeline makes alone."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sdopt.bench.client import Answer, digest
from sdopt.pipeline import Pipeline

_OPTIONS = (
    "negative_prompt",
    "seed",
    "num_inference_steps",
    "guidance_scale",
    "scheduler",
    "eta",
    "clip_skip",
)


def different_pictures(pipeline: Pipeline, answers: Sequence[Answer]) -> list[Answer]:
    """Make every finished picture again, alone, and return the answers whose pixels differ.

    Args:
        pipeline: Of the bundle that the server serves.
        answers: Of requests that give a seed; equal requests are made once.
    """
    alone: dict[str, tuple[str, ...]] = {}
    different = []
    for answer in answers:
        if answer.outcome == "finished":
            key = json.dumps(dict(answer.ask.body), sort_keys=True)
            if key not in alone:
                alone[key] = _digests(pipeline, answer)
            if alone[key] != answer.digests:
                different.append(answer)
    return different


def _digests(pipeline: Pipeline, answer: Answer) -> tuple[str, ...]:
    body = answer.ask.body
    options = {name: body[name] for name in _OPTIONS if name in body}
    if "size" in body:
        options["width"], options["height"] = map(int, body["size"].split("x"))
    result = pipeline(body["prompt"], num_images_per_prompt=body.get("n", 1), **options)
    return tuple(map(digest, result.images))
