"""Stage 1b: the decoder learns on, with the encoder fixed and its latents slightly noised.

Stable Diffusion's decoder was fine-tuned so too: the latents stay what the UNet was trained on,
and the pictures get sharper. The noise stands for what a UNet gets wrong. It needs stage 1 only.

Run: python -m models.shapes.train_decoder
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import nn
from torch.nn import functional

from models.shapes.pictures import scenes_to_pixels
from models.shapes.scenes import sample_scene
from models.shapes.train_vae import RESULT as VAE_RESULT
from models.shapes.train_vae import save_samples
from models.shapes.training import RUNS, Average, Run, descend, learning_rate_scale, read_config

RESULT = RUNS / "decoder" / "result"


def main() -> None:
    """Train, or go on training, and save the VAE with the averaged decoder."""
    config = read_config("decoder")
    torch.set_num_threads(config["threads"])
    vae = AutoencoderKL.from_pretrained(VAE_RESULT).to(memory_format=torch.channels_last)
    decoder = nn.ModuleList([vae.post_quant_conv, vae.decoder])
    learning_rate = config["learning_rate"]
    groups = [{"params": list(decoder.parameters()), "base_lr": learning_rate}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
    average = Average(decoder, config["average_decay"])
    parts = {"decoder": decoder, "optimizer": optimizer, "average": average}
    run = Run("decoder", config["seed"], parts)
    for step, rng in run.steps(config["steps"]):
        pixels = scenes_to_pixels([sample_scene(rng) for _ in range(config["batch_size"])])
        loss = decoding_loss(vae, pixels, config["latent_noise"])
        scale = learning_rate_scale(step, config["steps"], config["warmup_steps"])
        descend(optimizer, loss, scale)
        average.update(decoder, step)
        run.record(step, loss=loss.item())
        if (step + 1) % config["save_every"] == 0:
            run.save(step + 1)
            save_samples(vae, run)
    run.save(config["steps"])
    average.copy_to(decoder)
    save_samples(vae, run)
    vae.save_pretrained(RESULT)


def decoding_loss(vae: AutoencoderKL, pixels: torch.Tensor, latent_noise: float) -> torch.Tensor:
    """Return the mean absolute plus squared error of pixels (batch, 3, 96, 96) in -1..1."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with torch.no_grad():
            latents = vae.encode(pixels).latent_dist.mean
            noise = torch.randn_like(latents) * latent_noise / vae.config.scaling_factor
        decoded = vae.decode(latents + noise).sample.float()
    return functional.l1_loss(decoded, pixels) + functional.mse_loss(decoded, pixels)


if __name__ == "__main__":
    main()
