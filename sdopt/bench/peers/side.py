"""A peer's side of a comparison: loads a pipeline as its documentation says is fastest.

Run by its path, in the environment of the peer, where sdopt is not installed. It talks as
:mod:`sdopt.bench.peers.talk` says; the setup names the library and how it is used.
"""

from __future__ import annotations

import io
import time
from typing import Any

# Beside this file, in an environment that has no sdopt.
from talk import Figures, Load, Make, talk

PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "optimum",
    "optimum-onnx",
    "optimum-intel",
    "onnxruntime",
    "openvino",
)


def importing(setup: Figures) -> Load:
    """Import what the setup's library needs."""
    return _LIBRARIES[setup["library"]](setup)


def _diffusers(setup: Figures) -> Load:
    import torch
    from diffusers import DiffusionPipeline

    def load() -> Make:
        dtype = getattr(torch, setup["dtype"])
        pipeline = DiffusionPipeline.from_pretrained(setup["model"], dtype=dtype)
        pipeline.to(setup["device"])
        if setup["compiled"]:
            mode = "max-autotune" if setup["device"] == "cuda" else "default"
            pipeline.unet.to(memory_format=torch.channels_last)
            pipeline.vae.to(memory_format=torch.channels_last)
            pipeline.unet = torch.compile(pipeline.unet, mode=mode, fullgraph=True)
            pipeline.vae.decode = torch.compile(pipeline.vae.decode, mode=mode, fullgraph=True)
        return _making(pipeline, dtype)

    return load


def _optimum(setup: Figures) -> Load:
    import torch
    from optimum.onnxruntime import ORTDiffusionPipeline

    return lambda: _making(ORTDiffusionPipeline.from_pretrained(setup["model"]), torch.float32)


def _openvino(setup: Figures) -> Load:
    import torch
    from optimum.intel import OVDiffusionPipeline

    def load() -> Make:
        config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": setup["precision"]}
        pipeline = OVDiffusionPipeline.from_pretrained(
            setup["model"], compile=False, ov_config=config
        )
        pipeline.reshape(
            batch_size=1,
            height=setup["height"],
            width=setup["width"],
            num_images_per_prompt=setup["batch"],
        )
        pipeline.compile()
        return _making(pipeline, torch.float32)

    return load


_LIBRARIES = {"diffusers": _diffusers, "optimum": _optimum, "openvino": _openvino}


def _making(pipeline: Any, dtype: Any) -> Make:
    import torch

    pipeline.set_progress_bar_config(disable=True)

    def make(ask: Figures) -> Figures:
        options = dict(ask["options"])
        seed, batch = options.pop("seed"), options.pop("num_images_per_prompt")
        options.pop("scheduler")  # the checkpoint's own
        shape = (1, 4, options["height"] // 8, options["width"] // 8)
        # Every side starts from the same noise: image i is drawn from seed + i, in float32.
        noise = [
            torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed + i))
            for i in range(batch)
        ]
        latents = torch.cat(noise).to(pipeline.device, dtype)
        begin = time.perf_counter()
        images = pipeline(
            ask["prompt"], num_images_per_prompt=batch, latents=latents, **options
        ).images
        files = [_png(image) for image in images]
        wall_s = time.perf_counter() - begin
        if ask.get("keep"):
            with open(ask["keep"], "wb") as file:  # noqa: PTH123 - the standard library alone
                file.write(files[0])
        return {"wall_s": wall_s}

    return make


def _png(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    talk(importing, PACKAGES)
