"""A text encoder in three lines of NumPy: a table, and a mean over the tokens before each one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sdopt.bundle.families import TextEncoding
from sdopt.bundle.tensors import TensorSpec
from sdopt.runtime.ports import Array, Call, FloatArray

DIM = 8
ENCODING = TextEncoding("tokenizer", "text_encoder", "normed_hidden_states")


class ToyTextEncoder:
    """Counts how often it runs."""

    outputs = (TensorSpec("last_hidden_state", "float32", ("batch", 77, DIM)),)

    def __init__(self, *, takes_concepts: bool = True) -> None:
        self.runs = 0
        input_ids = TensorSpec("input_ids", "int64", ("batch", 77))
        concept_embeds = TensorSpec("concept_embeds", "float32", ("concepts", DIM))
        self.inputs = (input_ids, concept_embeds) if takes_concepts else (input_ids,)

    def bind(self, buffers: Mapping[str, Array]) -> Call:
        ids, hidden = buffers["input_ids"], buffers["last_hidden_state"]

        def call() -> None:
            self.runs += 1
            hidden[0] = self.hidden(ids[0])

        return call

    @staticmethod
    def hidden(ids: Array) -> FloatArray:
        """Encode the ids of one chunk: (77, DIM) float32."""
        table = np.random.default_rng(0).normal(0.2, 1, (1000, DIM))[ids.astype(int) % 1000]
        seen = np.cumsum(table, axis=0) / np.arange(1, len(table) + 1)[:, None]
        return (table + seen).astype(np.float32)
