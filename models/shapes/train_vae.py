"""Stage 1: the VAE, which makes pictures 8 times smaller on each side, and draws them again.

The loss is the mean absolute and squared error of the pixels and a small KL term. At the end
the latents are standardised, exactly, by folding a scale and a shift for each channel into the
1x1 convolutions on both sides of them; so diffusion starts from latents of mean 0 and deviation 1.

Run: python -m models.shapes.train_vae
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL

from models.shapes.pictures import contact_sheet, pixels_to_images, scenes_to_pixels
from models.shapes.scenes import PICTURE_SIZE, sample_scene, training_scenes
from models.shapes.training import (
    VAE_RESULT,
    Average,
    Run,
    descend,
    learning_rate_scale,
    read_config,
)

SAMPLE_SEED, STATISTICS_SEED = 90_001, 90_002


def main() -> None:
    """Train, or go on training, and save the standardised average."""
    config = read_config("vae")
    torch.set_num_threads(config["threads"])
    torch.manual_seed(config["seed"])
    vae = AutoencoderKL(**config["network"]).to(memory_format=torch.channels_last)
    learning_rate = config["learning_rate"]
    groups = [{"params": list(vae.parameters()), "base_lr": learning_rate}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
    average = Average(vae, config["average_decay"])
    run = Run("vae", config["seed"], {"vae": vae, "optimizer": optimizer, "average": average})
    for step, rng in run.steps(config["steps"]):
        pixels = draw_batch(rng, step, config)
        losses = vae_losses(vae, pixels)
        loss = losses["absolute"] + losses["squared"] + config["kl_weight"] * losses["kl"]
        scale = learning_rate_scale(step, config["steps"], config["warmup_steps"])
        descend(optimizer, loss, scale)
        average.update(vae, step)
        run.record(step, loss=loss.item(), pixel_loss=losses["absolute"].item())
        if (step + 1) % config["save_every"] == 0:
            run.save(step + 1)
            save_samples(vae, run)
    run.save(config["steps"])
    average.copy_to(vae)
    standardise_latents(vae)
    save_samples(vae, run)
    vae.save_pretrained(VAE_RESULT)


def draw_batch(rng: np.random.Generator, step: int, config: dict[str, Any]) -> torch.Tensor:
    """Draw pixels (batch, 3, side, side): small crops for most of the run, then whole pictures.

    A crop costs a quarter of a picture and shows as much of colour and edges, so the VAE sees
    several times as many; the last steps teach it the borders.
    """
    whole = step >= config["crop_steps"]
    batch_size = config["batch_size"] if whole else config["crop_batch_size"]
    pixels = scenes_to_pixels([sample_scene(rng) for _ in range(batch_size)])
    if whole:
        return pixels
    side = config["crop_side"]
    top, left = rng.integers(PICTURE_SIZE - side + 1, size=2)
    return pixels[:, :, top : top + side, left : left + side]


def vae_losses(vae: AutoencoderKL, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the scalar losses for pixels (batch, 3, height, width) in -1..1.

    `kl` is the divergence of a latent value's Gaussian from the standard one, in nats, averaged.
    """
    with torch.autocast("cpu", dtype=torch.bfloat16):
        posterior = vae.encode(pixels).latent_dist
        decoded = vae.decode(posterior.sample()).sample
    error = decoded.float() - pixels
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    return {
        "absolute": error.abs().mean(),
        "squared": error.square().mean(),
        "kl": 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean(),
    }


@torch.no_grad()
def standardise_latents(vae: AutoencoderKL) -> None:
    """Fold a shift and a scale for each channel into the convolutions around the latents.

    Afterwards `latents * scaling_factor` has mean 0 and deviation 1 in every channel over drawn
    pictures, and the decoder's pictures are what they were.
    """
    pixels = scenes_to_pixels(training_scenes(512, STATISTICS_SEED))
    batches = pixels.split(64)
    latents = torch.cat([vae.encode(batch).latent_dist.mean for batch in batches])
    shift = latents.mean(dim=(0, 2, 3))
    scale = latents.std(dim=(0, 2, 3)) * vae.config.scaling_factor
    channels = vae.config.latent_channels
    encoder, decoder = vae.quant_conv, vae.post_quant_conv
    decoder.bias += decoder.weight[:, :, 0, 0] @ shift
    decoder.weight *= scale[None, :, None, None]
    encoder.weight[:channels] /= scale[:, None, None, None]
    encoder.bias[:channels] = (encoder.bias[:channels] - shift) / scale
    encoder.bias[channels:] -= 2 * scale.log()


@torch.no_grad()
def save_samples(vae: AutoencoderKL, run: Run) -> None:
    """Draw a sheet: a row of pictures, the row of their reconstructions, and so on."""
    pixels = scenes_to_pixels(training_scenes(24, SAMPLE_SEED))
    decoded = vae.decode(vae.encode(pixels).latent_dist.mean).sample
    rows = [
        pair for parts in zip(pixels.split(12), decoded.split(12), strict=True) for pair in parts
    ]
    contact_sheet(pixels_to_images(torch.cat(rows)), columns=12).save(run.folder / "samples.png")


if __name__ == "__main__":
    main()
