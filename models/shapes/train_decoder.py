"""Stage 4: the decoder learns on, from latents with the UNet's own mistakes in them.

Stable Diffusion's decoder was fine-tuned too, with the encoder fixed, so that the latents stay what
the UNet was trained on. Here it sees what the UNet makes of noised latents, and learns to
draw clean pictures from them.

Run: python -m models.shapes.train_decoder
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import nn
from torch.nn import functional
from transformers import CLIPTextModel

from models.shapes.captions import describe
from models.shapes.pictures import scenes_to_pixels
from models.shapes.scenes import Scene, sample_scene
from models.shapes.train_unet import Denoiser
from models.shapes.train_vae import save_samples
from models.shapes.training import (
    DECODER_RESULT,
    UNET_RESULT,
    VAE_RESULT,
    Average,
    Run,
    descend,
    learning_rate_scale,
    read_config,
)
from models.shapes.words import Words


class Redrawing:
    """Pictures to latents, some noise on them, and what the UNet then takes the latents for."""

    def __init__(self, vae: AutoencoderKL, max_timestep: int) -> None:
        unet = UNet2DConditionModel.from_pretrained(UNET_RESULT / "unet")
        text_encoder = CLIPTextModel.from_pretrained(UNET_RESULT / "text_encoder")
        scheduler = DDIMScheduler(**read_config("unet")["scheduler"])
        self.vae, self.words = vae, Words()
        self.denoiser = Denoiser(unet, text_encoder).eval()
        self.alpha_bars: torch.Tensor = scheduler.alphas_cumprod[:max_timestep]

    @torch.no_grad()
    def latents(
        self, pixels: torch.Tensor, scenes: list[Scene], rng: np.random.Generator
    ) -> torch.Tensor:
        """Return the UNet's latents (batch, 4, 12, 12), scaled, for pixels (batch, 3, 96, 96)."""
        latents = self.vae.encode(pixels).latent_dist.mean * self.vae.config.scaling_factor
        timestep = torch.randint(len(self.alpha_bars), (len(latents),))
        alpha_bar = self.alpha_bars[timestep].view(-1, 1, 1, 1)
        sample = alpha_bar.sqrt() * latents + (1 - alpha_bar).sqrt() * torch.randn_like(latents)
        input_ids = self.words.input_ids([describe(scene, rng) for scene in scenes])
        noise = self.denoiser(sample, timestep, input_ids)
        denoised: torch.Tensor = (sample - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()
        return denoised


def main() -> None:
    """Train, or go on training, and save the VAE with the averaged decoder."""
    config = read_config("decoder")
    torch.set_num_threads(config["threads"])
    vae = AutoencoderKL.from_pretrained(VAE_RESULT).to(memory_format=torch.channels_last)
    redrawing = Redrawing(vae, config["max_timestep"])
    decoder = nn.ModuleList([vae.post_quant_conv, vae.decoder])
    learning_rate = config["learning_rate"]
    groups = [{"params": list(decoder.parameters()), "base_lr": learning_rate}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
    average = Average(decoder, config["average_decay"])
    parts = {"decoder": decoder, "optimizer": optimizer, "average": average}
    run = Run("decoder", config["seed"], parts)
    for step, rng in run.steps(config["steps"]):
        scenes = [sample_scene(rng) for _ in range(config["batch_size"])]
        pixels = scenes_to_pixels(scenes)
        loss = decoding_loss(vae, redrawing.latents(pixels, scenes, rng), pixels)
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
    vae.save_pretrained(DECODER_RESULT)


def decoding_loss(vae: AutoencoderKL, latents: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Return the absolute plus squared error of pixels (batch, 3, 96, 96) in -1..1, averaged."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        decoded = vae.decode(latents / vae.config.scaling_factor).sample.float()
    return functional.l1_loss(decoded, pixels) + functional.mse_loss(decoded, pixels)


if __name__ == "__main__":
    main()
