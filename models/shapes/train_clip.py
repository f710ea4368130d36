"""Stage 2: a small CLIP, whose text encoder then starts the conditioning of the UNet.

A text encoder and an image encoder learn to give a caption and its picture the same direction,
among the captions and pictures of one batch (Radford et al. 2021, arXiv:2103.00020, figure 3).

Run: python -m models.shapes.train_clip
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel

from models.shapes.captions import describe
from models.shapes.pictures import contact_sheet, pixels_to_images, scenes_to_pixels
from models.shapes.scenes import sample_scene, training_scenes
from models.shapes.training import (
    CLIP_RESULT,
    Average,
    Run,
    descend,
    learning_rate_scale,
    read_config,
)
from models.shapes.words import Words

SAMPLE_SEED = 90_003
MAX_LOGIT_SCALE = 100.0


class ImageEncoder(nn.Module):
    """Strided convolutions, then a 3x3 grid of features, so that position is not lost."""

    def __init__(self, channels: list[int], embedding_size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip([3, *channels[:-1]], channels, strict=True):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1)]
            layers += [nn.GroupNorm(8, after), nn.SiLU()]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(3), nn.Flatten())
        self.project = nn.Linear(9 * channels[-1], embedding_size)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map pixels (batch, 3, 96, 96) to embeddings (batch, embedding_size)."""
        embeddings: torch.Tensor = self.project(self.features(pixels))
        return embeddings


class Clip(nn.Module):
    """Both encoders, the text projection and the temperature."""

    def __init__(self, config: dict[str, Any], words: Words) -> None:
        super().__init__()
        text_config = CLIPTextConfig(**config["text"], **words.ids_of_text_config())
        self.text_encoder = CLIPTextModel(text_config)
        size = config["embedding_size"]
        self.text_projection = nn.Linear(text_config.hidden_size, size, bias=False)
        self.image_encoder = ImageEncoder(config["image_channels"], size)
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())

    def forward(self, pixels: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
        """Return the similarity of each picture (rows) with each caption (columns), scaled."""
        images = functional.normalize(self.image_encoder(pixels), dim=-1)
        pooled = self.text_encoder(input_ids=input_ids).pooler_output
        texts = functional.normalize(self.text_projection(pooled), dim=-1)
        similarity: torch.Tensor = (
            images @ texts.T * self.log_scale.exp().clamp(max=MAX_LOGIT_SCALE)
        )
        return similarity


def main() -> None:
    """Train, or go on training, and save the average of the text encoder."""
    config = read_config("clip")
    torch.set_num_threads(config["threads"])
    torch.manual_seed(config["seed"])
    words = Words()
    clip = Clip(config, words)
    learning_rate = config["learning_rate"]
    groups = [{"params": list(clip.parameters()), "base_lr": learning_rate}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, weight_decay=0.01)
    average = Average(clip, config["average_decay"])
    run = Run("clip", config["seed"], {"clip": clip, "optimizer": optimizer, "average": average})
    for step, rng in run.steps(config["steps"]):
        similarity = clip(*draw_batch(rng, words, config["batch_size"]))
        loss = contrastive_loss(similarity)
        scale = learning_rate_scale(step, config["steps"], config["warmup_steps"])
        descend(optimizer, loss, scale)
        average.update(clip, step)
        hits = similarity.argmax(dim=0) == torch.arange(len(similarity))
        run.record(step, loss=loss.item(), retrieved=hits.float().mean().item())
        if (step + 1) % config["save_every"] == 0:
            run.save(step + 1)
    run.save(config["steps"])
    average.copy_to(clip)
    save_samples(clip, words, run)
    clip.text_encoder.save_pretrained(CLIP_RESULT)


def draw_batch(
    rng: np.random.Generator, words: Words, batch_size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw pixels (batch, 3, 96, 96) and their captions' ids (batch, length).

    The ids are cut behind the longest caption: attention is causal, so what follows a caption's
    end token cannot change its embedding.
    """
    scenes = [sample_scene(rng) for _ in range(batch_size)]
    input_ids = words.input_ids([describe(scene, rng) for scene in scenes])
    end = words.tokenizer.eos_token_id
    longest = int((input_ids != end).sum(dim=1).max()) + 1
    return scenes_to_pixels(scenes), input_ids[:, :longest]


def contrastive_loss(similarity: torch.Tensor) -> torch.Tensor:
    """Return the mean cross entropy of picture to caption and caption to picture."""
    target = torch.arange(len(similarity))
    rows = functional.cross_entropy(similarity, target)
    return (rows + functional.cross_entropy(similarity.T, target)) / 2


@torch.no_grad()
def save_samples(clip: Clip, words: Words, run: Run) -> None:
    """Draw a sheet: in each row the 12 pictures of 400 that suit one new caption best."""
    pixels = scenes_to_pixels(training_scenes(400, SAMPLE_SEED))
    captions = [
        "a red circle on a blue background",
        "a blue circle on a red background",
        "a small white star in the top left on a green background",
        "a large yellow ring",
        "a green square on the left and a red cross on the right on a black background",
    ]
    similarity = clip(pixels, words.input_ids(captions))
    best = similarity.topk(12, dim=0).indices.T.flatten()
    contact_sheet(pixels_to_images(pixels[best]), columns=12).save(run.folder / "samples.png")


if __name__ == "__main__":
    main()
