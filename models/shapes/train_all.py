"""Run the whole recipe: tokenizer, VAE, CLIP, UNet, decoder, checkpoint, judgement.

Each stage goes on from where it was stopped, so this can be interrupted and called again.

Run: python -m models.shapes.train_all
"""

from __future__ import annotations

import os
import subprocess
import sys

STAGES = (
    "tokenizer",
    "train_vae",
    "train_clip",
    "latents",
    "train_unet",
    "train_decoder",
    "assemble",
    "judge",
)

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "MALLOC_MMAP_THRESHOLD_": str(4 * 10**9),
    "MALLOC_TRIM_THRESHOLD_": str(8 * 10**9),
}
"""Waiting threads sleep, and glibc keeps freed memory: without that, page faults for each new
tensor took a third of the time."""


def main() -> None:
    """Run each stage in its own process, so that its memory is free again at its end."""
    for stage in STAGES:
        subprocess.run(  # noqa: S603  (the command is made of the names above)
            [sys.executable, "-m", f"models.shapes.{stage}"],
            check=True,
            env=os.environ | ENVIRONMENT,
        )


if __name__ == "__main__":
    main()
