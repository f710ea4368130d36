"""Stage 3: the UNet, which learns to tell the noise in noised latents, given the caption.

Plain DDPM training as in Stable Diffusion (Ho et al. 2020, arXiv:2006.11239, algorithm 1), with
captions dropped for classifier-free guidance and an exponential moving average as the result.
Two things differ, both so that a model of this size binds two colours to the right places: the
text encoder learns on, and the loss is weighted towards high noise.

Run: python -m models.shapes.train_unet
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel

from models.shapes.captions import describe
from models.shapes.judge import generate, judge
from models.shapes.latents import EncodedScenes, load_scenes
from models.shapes.pictures import contact_sheet
from models.shapes.prompts import held_out_prompts
from models.shapes.training import (
    CLIP_RESULT,
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


class Denoiser(nn.Module):
    """The UNet and the text encoder that conditions it."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder

    def forward(
        self, sample: torch.Tensor, timestep: torch.Tensor, input_ids: torch.Tensor
    ) -> torch.Tensor:
        """Predict the noise (batch, 4, 12, 12) in `sample` of that shape, given ids (batch, 77)."""
        prompt_embeds = self.text_encoder(input_ids=input_ids).last_hidden_state
        noise: torch.Tensor = self.unet(
            sample, timestep, encoder_hidden_states=prompt_embeds
        ).sample
        return noise


class Objective:
    """The weighted loss on the predicted noise, for the noise schedule of the scheduler."""

    def __init__(
        self, scheduler: DDIMScheduler, max_weight: float, channel_weights: list[float]
    ) -> None:
        self.alpha_bars: torch.Tensor = scheduler.alphas_cumprod
        weights = (1 / self.alpha_bars).clamp(max=max_weight)
        self.weights = weights / weights.mean()
        self.channel_weights = torch.tensor(channel_weights).view(1, -1, 1, 1)

    def loss(
        self, denoiser: Denoiser, latents: torch.Tensor, input_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Noise latents (batch, 4, 12, 12) and return the weighted and the plain loss, scalars.

        The timesteps are spread evenly over the batch, which makes the loss less noisy.
        """
        batch = len(latents)
        total = len(self.alpha_bars)
        timestep = ((torch.arange(batch) + torch.rand(batch)) * total / batch).long()
        alpha_bar = self.alpha_bars[timestep].view(-1, 1, 1, 1)
        noise = torch.randn_like(latents)
        sample = alpha_bar.sqrt() * latents + (1 - alpha_bar).sqrt() * noise
        errors = (denoiser(sample, timestep, input_ids) - noise).square()
        weights = self.weights[timestep].view(-1, 1, 1, 1) * self.channel_weights
        return (errors * weights).mean(), errors.mean()


def main() -> None:
    """Train, or go on training, and keep the average as the result at every save."""
    config = read_config("unet")
    torch.set_num_threads(config["threads"])
    torch.manual_seed(config["seed"])
    words, encoded = Words(), load_scenes()
    scheduler = DDIMScheduler(**config["scheduler"])
    objective = Objective(scheduler, config["max_loss_weight"], config["channel_weights"])
    unet = UNet2DConditionModel(**config["network"]).to(memory_format=torch.channels_last)
    denoiser = Denoiser(unet, CLIPTextModel.from_pretrained(CLIP_RESULT))
    optimizer = make_optimizer(denoiser, config)
    average = Average(denoiser, config["average_decay"])
    parts = {"denoiser": denoiser, "optimizer": optimizer, "average": average}
    run = Run("unet", config["seed"], parts)
    for step, rng in run.steps(config["steps"]):
        batch, input_ids = draw_batch(rng, encoded, words, config)
        loss, plain_loss = objective.loss(denoiser, batch, input_ids)
        scale = learning_rate_scale(step, config["steps"], config["warmup_steps"])
        descend(optimizer, loss, scale)
        average.update(denoiser, step)
        run.record(step, loss=loss.item(), plain_loss=plain_loss.item())
        if (step + 1) % config["save_every"] == 0 or step + 1 == config["steps"]:
            run.save(step + 1)
            averaged = save_result(denoiser, average)
            if (step + 1) % config["judge_every"] == 0 or step + 1 == config["steps"]:
                judge_average(averaged, words, scheduler, run, config)


def make_optimizer(denoiser: Denoiser, config: dict[str, Any]) -> torch.optim.AdamW:
    """Return AdamW with a learning rate for each network."""
    groups = [
        {"params": list(denoiser.unet.parameters()), "base_lr": config["learning_rate"]},
        {
            "params": list(denoiser.text_encoder.parameters()),
            "base_lr": config["text_learning_rate"],
        },
    ]
    return torch.optim.AdamW(groups, lr=config["learning_rate"], weight_decay=0.01, fused=True)


def draw_batch(
    rng: np.random.Generator, encoded: EncodedScenes, words: Words, config: dict[str, Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw latents (batch, 4, 12, 12) and the ids (batch, 77) of captions, some of them empty."""
    indices = rng.integers(len(encoded.scenes), size=config["batch_size"]).tolist()
    captions = [
        "" if rng.random() < config["caption_dropout"] else describe(encoded.scenes[index], rng)
        for index in indices
    ]
    return encoded.latents[indices], words.input_ids(captions)


def save_result(denoiser: Denoiser, average: Average) -> Denoiser:
    """Write the averaged networks and return them."""
    averaged = copy.deepcopy(denoiser).eval()
    average.copy_to(averaged)
    averaged.unet.save_pretrained(UNET_RESULT / "unet")
    averaged.text_encoder.save_pretrained(UNET_RESULT / "text_encoder")
    return averaged


def judge_average(
    averaged: Denoiser,
    words: Words,
    scheduler: DDIMScheduler,
    run: Run,
    config: dict[str, Any],
) -> None:
    """Sample held-out prompts, write the sheet, and log how many attributes are right."""
    vae_folder = DECODER_RESULT if DECODER_RESULT.exists() else VAE_RESULT
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(vae_folder),
        text_encoder=averaged.text_encoder,
        tokenizer=words.tokenizer,
        unet=averaged.unet,
        scheduler=copy.deepcopy(scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    prompts = held_out_prompts()[: config["judge_prompts"]]
    images = generate(pipeline, prompts, guidance_scale=config["judge_guidance_scale"])
    step = int(run.log[-1]["step"])
    contact_sheet(images, columns=12).save(run.folder / f"samples-{step + 1:05d}.png")
    accuracy = judge(images, prompts)
    run.record(step, **accuracy.as_row())
    print(f"\nstep {step + 1}: {accuracy}", flush=True)


if __name__ == "__main__":
    main()
