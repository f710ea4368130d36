"""Captions to token ids, by the tokenizer of the checkpoint."""

from __future__ import annotations

import torch
from transformers import CLIPTokenizer

from models.shapes.tokenizer import FOLDER


class Words:
    """The trained tokenizer, padding as the pipelines do: to 77 ids, with the end token."""

    def __init__(self) -> None:
        self.tokenizer = CLIPTokenizer.from_pretrained(FOLDER)

    def input_ids(self, captions: list[str]) -> torch.Tensor:
        """Return token ids (batch, 77), int64."""
        encoded = self.tokenizer(
            captions, padding="max_length", truncation=True, return_tensors="pt"
        )
        input_ids: torch.Tensor = encoded.input_ids
        return input_ids

    def ids_of_text_config(self) -> dict[str, int]:
        """Return what a `CLIPTextConfig` must know about the vocabulary."""
        return {
            "vocab_size": len(self.tokenizer),
            "bos_token_id": self.tokenizer.bos_token_id,
            "eos_token_id": self.tokenizer.eos_token_id,
            "pad_token_id": self.tokenizer.pad_token_id,
        }
