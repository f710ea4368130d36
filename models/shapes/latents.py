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
from models.shapes.training import RUNS, read_config
from models.shapes.train_vae import RESULT as VAE_RESULT

PATH = RUNS / "latents.safetensors"
BATCH_SIZE = 64


@dataclass(frozen=True)
class Latents:
    """The scenes and their latents' Gaussians: mean and deviation (scenes, 4, 12, 12), scaled."""

    scenes: list[Scene]
    mean: torch.Tensor
    deviation: torch.Tensor

    def sample(self, indices: list[int]) -> torch.Tensor:
        """Draw latents (batch, 4, 12, 12), times the scaling factor, for some of the scenes."""
        mean = self.mean[indices]
        return mean + self.deviation[indices] * torch.randn_like(mean)


def load_latents() -> Latents:
    """Read the encoded scenes; encode them first if that was not done yet."""
    if not PATH.exists():
        main()
    config = read_config("unet")
    tensors = load_file(PATH)
    scenes = training_scenes(config["scenes"], config["seed"])
    return Latents(scenes, tensors["mean"], tensors["deviation"])


@torch.no_grad()
def main() -> None:
    """Draw the training scenes, encode them and write one file."""
    config = read_config("unet")
    torch.set_num_threads(config["threads"])
    vae = AutoencoderKL.from_pretrained(VAE_RESULT).to(memory_format=torch.channels_last)
    scenes = training_scenes(config["scenes"], config["seed"])
    means, deviations = [], []
    for start in track(range(0, len(scenes), BATCH_SIZE), "latents"):
        posterior = vae.encode(scenes_to_pixels(scenes[start : start + BATCH_SIZE])).latent_dist
        means.append(posterior.mean * vae.config.scaling_factor)
        deviations.append(posterior.std * vae.config.scaling_factor)
    tensors = {"mean": torch.cat(means), "deviation": torch.cat(deviations)}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, PATH)


if __name__ == "__main__":
    main()
