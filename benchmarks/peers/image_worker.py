"""One side of a comparison: loads a pipeline, then makes one picture for each line on stdin.

    python image_worker.py sdopt     BUNDLE      [--engine openvino] [--size 256] [--steps 4]
    python image_worker.py diffusers CHECKPOINT  [--dtype float32] ...
    python image_worker.py optimum   ONNX_FOLDER ...

Each side runs in a process, and where it must in an environment, of its own. The first line on
stdout tells import and load times; each later one tells about one picture. Memory is the process's
peak resident set.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import sys
import time
from collections.abc import Callable

PROMPTS = (f"A picture of a puppy with {count} toys" for count in itertools.count())
"""Another one for each picture: sdopt keeps encoded prompts, and the others encode them again."""


def diffusers(options: argparse.Namespace) -> Callable[[], Callable[[], dict[str, float]]]:
    import torch
    from diffusers import DiffusionPipeline

    def load() -> Callable[[], dict[str, float]]:
        pipeline = DiffusionPipeline.from_pretrained(
            options.model, dtype=getattr(torch, options.dtype)
        )
        return _like_diffusers(pipeline, options)

    return load


def optimum(options: argparse.Namespace) -> Callable[[], Callable[[], dict[str, float]]]:
    from optimum.onnxruntime import ORTDiffusionPipeline

    return lambda: _like_diffusers(ORTDiffusionPipeline.from_pretrained(options.model), options)


def sdopt(options: argparse.Namespace) -> Callable[[], Callable[[], dict[str, float]]]:
    import sdopt.pipeline
    from sdopt.engines.catalog import offered

    offered(options.engine, "cpu")  # imports the backend

    def load() -> Callable[[], dict[str, float]]:
        pipeline = sdopt.pipeline.load(options.model, engine=options.engine)

        def picture() -> dict[str, float]:
            timings = pipeline(
                next(PROMPTS),
                height=options.size,
                width=options.size,
                num_inference_steps=options.steps,
                guidance_scale=7.5,
                seed=0,
            ).timings
            return {
                "text_encoder_ms": timings.text_encoder_ms,
                "unet_ms": timings.unet_ms,
                "vae_decoder_ms": timings.vae_decoder_ms,
                "overhead_ms": timings.overhead_ms,
            }

        return picture

    return load


def _like_diffusers(
    pipeline: object, options: argparse.Namespace
) -> Callable[[], dict[str, float]]:
    pipeline.set_progress_bar_config(disable=True)  # type: ignore[attr-defined]

    def picture() -> dict[str, float]:
        pipeline(  # type: ignore[operator]
            next(PROMPTS),
            height=options.size,
            width=options.size,
            num_inference_steps=options.steps,
            guidance_scale=7.5,
        )
        return {}

    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("side", choices=("sdopt", "diffusers", "optimum"))
    parser.add_argument("model")
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    begin = time.perf_counter()
    load = globals()[options.side](options)
    imported = time.perf_counter()
    picture = load()
    _tell(import_s=imported - begin, load_s=time.perf_counter() - imported)
    for _ in sys.stdin:
        begin = time.perf_counter()
        parts = picture()
        _tell(image_s=time.perf_counter() - begin, **parts)


def _tell(**figures: float) -> None:
    peak_rss_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({**figures, "peak_rss_gb": peak_rss_gb}), flush=True)


if __name__ == "__main__":
    main()
