"""Encode the training scenes once: the UNet sees latents only.

Run: python -m models.shapes.latents
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from rich.progress import track
from safetensors.torch import load_file, save_file

from models.shapes.pictures import scenes_to_pixels
from models.shapes.scenes import Scene, training_scenes
from models.shapes.training import RUNS, VAE_RESULT, read_config

PATH = RUNS / "latents.safetensors"
BATCH_SIZE = 64


@dataclass(frozen=True)
class EncodedScenes:
    """Scenes and their latents (scenes, 4, 12, 12), float32, times the scaling factor.

    The latents are the means of the encoder's Gaussians. Stable Diffusion draws from them, but its
    deviations are tiny; this VAE leaves 0.15 in two channels, and the UNet would have to learn
    to leave just that noise in.
    """

    scenes: list[Scene]
    latents: torch.Tensor


def load_scenes() -> EncodedScenes:
    """Read the encoded scenes; encode them first if that was not done yet."""
    if not PATH.exists():
        main()
    config = read_config("unet")
    scenes = training_scenes(config["scenes"], config["seed"])
    return EncodedScenes(scenes, load_file(PATH)["latents"])


@torch.no_grad()
def main() -> None:
    """Draw the training scenes, encode them and write one file."""
    config = read_config("unet")
    torch.set_num_threads(config["threads"])
    vae = AutoencoderKL.from_pretrained(VAE_RESULT).to(memory_format=torch.channels_last)
    scenes = training_scenes(config["scenes"], config["seed"])
    batches = []
    for start in track(range(0, len(scenes), BATCH_SIZE), "latents"):
        pixels = scenes_to_pixels(scenes[start : start + BATCH_SIZE])
        batches.append(vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor)
    save_file({"latents": torch.cat(batches).contiguous()}, PATH)


if __name__ == "__main__":
    main()
