"""Write a tiny Stable Diffusion 1.x checkpoint, and what torch computes from it.

    python tests/export/tiny_checkpoint.py OUT [--seed 0]

OUT/checkpoint is in the diffusers layout: random weights, three UNet levels, factor 8, and a
CLIP-format tokenizer that knows bytes and five merges. OUT/expected/COMPONENT.safetensors holds
inputs of many sizes with the outputs of the unmodified diffusers and transformers models.

It is a script, run in a process of its own, so that the tests themselves stay free of torch.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

LATENT_SIZES = (
    (1, 8, 8),
    (2, 17, 25),  # odd at every level
    (3, 9, 6),
    (1, 1, 1),  # the smallest there is: 8 x 8 pixels
    (2, 2, 3),
    (5, 12, 7),
)
TOKENS = 77
WIDTH = 16


def byte_vocabulary() -> list[str]:
    """CLIP's alphabet: a printable character for each byte, each also as the end of a word."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = [chr(byte) for byte in plain] + [chr(256 + index) for index in range(len(others))]
    return [*letters, *(letter + "</w>" for letter in letters)]


def write_tokenizer(folder: Path, padding: str | None = None) -> int:
    """Write vocab.json, merges.txt and tokenizer_config.json; return the size of the vocabulary."""
    merges = [("r", "e"), ("re", "d</w>"), ("b", "l"), ("bl", "u"), ("blu", "e</w>")]
    words = [*byte_vocabulary(), *("".join(merge) for merge in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    vocabulary = {word: index for index, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": TOKENS,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": padding or "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return len(words)


def build(out: Path, seed: int) -> dict[str, Any]:
    """Write the checkpoint and return its models."""
    import torch
    from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(seed)
    vocabulary = write_tokenizer(out / "tokenizer")
    models: dict[str, Any] = {
        "text_encoder": CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary, hidden_size=WIDTH, intermediate_size=32, num_hidden_layers=2,
                num_attention_heads=2, max_position_embeddings=TOKENS, bos_token_id=vocabulary - 2,
                eos_token_id=vocabulary - 1, pad_token_id=vocabulary - 1,
            )
        ),
        "unet": UNet2DConditionModel(
            sample_size=12, layers_per_block=1, block_out_channels=(8, 16, 16), norm_num_groups=4,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=WIDTH, attention_head_dim=2,
        ),
        "vae": AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4,
            sample_size=96, scaling_factor=0.18215,
        ),
    }  # fmt: skip
    for name, model in models.items():
        model.eval().save_pretrained(out / name)
    PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True,
        steps_offset=1, set_alpha_to_one=False,
    ).save_pretrained(out / "scheduler")  # fmt: skip
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.42.1",
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (out / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    return models


def inputs() -> dict[str, list[dict[str, Any]]]:
    """Draw inputs of every size for every component."""
    random = np.random.default_rng(7)

    def normal(*shape: int) -> Any:
        return random.standard_normal(shape, np.float32)

    ids = random.integers(0, 500, (3, TOKENS))
    with_concepts = np.where(random.random(ids.shape) < 0.2, -1 - ids % 4, ids)
    return {
        "text_encoder": [
            {"input_ids": ids[:1], "concept_embeds": np.zeros((1, WIDTH), np.float32)},
            {"input_ids": with_concepts, "concept_embeds": normal(4, WIDTH)},
        ],
        "unet": [
            {
                "sample": normal(batch, 4, height, width),
                "timestep": random.uniform(0, 999, batch).astype(np.float32),
                "encoder_hidden_states": normal(batch, TOKENS * (1 + index % 2), WIDTH),
            }
            for index, (batch, height, width) in enumerate(LATENT_SIZES)
        ],
        "vae_decoder": [{"latent_sample": normal(b, 4, h, w)} for b, h, w in LATENT_SIZES],
        "vae_encoder": [{"sample": normal(b, 3, 8 * h, 8 * w)} for b, h, w in LATENT_SIZES],
    }


def calls(models: Mapping[str, Any]) -> dict[str, Callable[..., dict[str, Any]]]:
    """Call the models as diffusers' own pipeline does, without any of sdopt's wrappers."""
    import torch

    def text_encoder(input_ids: Any, concept_embeds: Any) -> dict[str, Any]:
        encoder = models["text_encoder"]
        known = encoder.get_input_embeddings()
        table = torch.cat([known.weight, concept_embeds])  # as a larger vocabulary
        encoder.set_input_embeddings(torch.nn.Embedding.from_pretrained(table))
        input_ids = torch.where(input_ids < 0, len(known.weight) - 1 - input_ids, input_ids)
        out = encoder(input_ids, output_hidden_states=True)
        encoder.set_input_embeddings(known)
        hidden = {f"hidden_states.{index}": h for index, h in enumerate(out.hidden_states)}
        named = {"last_hidden_state": out.last_hidden_state, "pooler_output": out.pooler_output}
        normed = {
            f"normed_hidden_states.{index}": encoder.final_layer_norm(h)
            for index, h in enumerate(out.hidden_states[1:-1], start=1)
        }
        return {**named, **hidden, **normed}

    return {
        "text_encoder": text_encoder,
        "unet": lambda **arrays: {"out_sample": models["unet"](**arrays).sample},
        "vae_decoder": lambda latent_sample: {"sample": models["vae"].decode(latent_sample).sample},
        "vae_encoder": lambda sample: {
            "latent_parameters": models["vae"].encode(sample).latent_dist.parameters
        },
    }


def write_expected(models: Mapping[str, Any], out: Path) -> None:
    """Run the models on :func:`inputs` and write reference pairs."""
    import torch

    from sdopt.bundle.reference import ReferencePair, save_reference

    out.mkdir()
    call = calls(models)
    for component, cases in inputs().items():
        pairs: list[ReferencePair] = []
        for case in cases:
            with torch.inference_mode():
                outputs = call[component](**{k: torch.from_numpy(v) for k, v in case.items()})
            pairs.append(ReferencePair(case, {k: v.numpy() for k, v in outputs.items()}))
        save_reference(out / f"{component}.safetensors", pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write_expected(build(options.out / "checkpoint", options.seed), options.out / "expected")


if __name__ == "__main__":
    main()
