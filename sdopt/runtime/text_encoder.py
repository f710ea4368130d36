"""One tokenizer and its text encoder: from a prompt's segments to embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, takewhile
from typing import NamedTuple

import numpy as np

from sdopt.bundle.families import LongPrompts, TextEncoding
from sdopt.errors import InvalidValueError
from sdopt.runtime.chunks import Chunk, ChunkedPrompt, Chunker
from sdopt.runtime.clock import EngineClock
from sdopt.runtime.concept_file import Concept
from sdopt.runtime.concepts import ConceptTable
from sdopt.runtime.ports import Array, Call, Engine, FloatArray, dtype_of
from sdopt.runtime.prompt_syntax import Segment
from sdopt.runtime.tokenizer import ClipTokenizer
from sdopt.runtime.weighting import weigh

_CONCEPTS = "concept_embeds"


class TextEncoder:
    """Encodes chunks one at a time, on buffers that are bound once for each ``clip_skip``.

    Attributes:
        width: Values per token that it gives.
        pooled_width: Values that sum up a whole prompt; 0 where it gives none that is used.
        max_clip_skip: How many of its last layers can be left out.
    """

    def __init__(
        self,
        encoding: TextEncoding,
        tokenizer: ClipTokenizer,
        engine: Engine,
        long_prompts: LongPrompts = "chunk",
    ) -> None:
        self._encoding, self._tokenizer, self._engine = encoding, tokenizer, engine
        self._long_prompts = long_prompts
        self._outputs = {spec.name: spec for spec in engine.outputs}
        self._num_layers = sum(name.startswith("hidden_states.") for name in self._outputs) - 1
        self.width = self._fixed_width(self._output(0))
        self.pooled_width = self._fixed_width(encoding.pooled) if encoding.pooled else 0
        self.max_clip_skip = sum(
            1 for _ in takewhile(lambda n: self._output(n) in self._outputs, count(1))
        )
        self._ids = np.zeros((1, tokenizer.max_length), dtype_of(engine, "input_ids"))
        self._set_concepts(())

    @property
    def chunk_length(self) -> int:
        """Ids per chunk, start and end included."""
        return self._tokenizer.max_length

    def use(self, concepts: Sequence[Concept]) -> None:
        """Know these concepts from now on, and no others.

        Raises:
            InvalidValueError: One does not fit this text encoder, or the bundle takes none.
        """
        if concepts and _CONCEPTS not in {spec.name for spec in self._engine.inputs}:
            raise InvalidValueError(
                "token",
                concepts[0].token,
                f"usable where {self._encoding.component} has the input {_CONCEPTS}",
                "Export the checkpoint again with this version of sdopt",
            )
        self._set_concepts(concepts)

    def chunked(self, segments: Sequence[Segment]) -> ChunkedPrompt:
        """Tokenize and cut a prompt. See :class:`sdopt.runtime.chunks.Chunker`."""
        return self._chunker(segments)

    def encode(
        self, chunks: Sequence[Chunk], length: int, clip_skip: int, clock: EngineClock
    ) -> EncodedChunks:
        """Encode chunks, and empty ones behind them up to ``length`` chunks.

        As in the web UI, it is the first chunk that sums the prompt up, and weights have no part
        in it.
        """
        empty = [self._chunker.empty] * (length - len(chunks))
        bound = self._bound(clip_skip)
        encoded = [self._encode(chunk, bound, clock) for chunk in (*chunks, *empty)]
        return EncodedChunks(np.concatenate([chunk.embeds for chunk in encoded]), encoded[0].pooled)

    def _encode(self, chunk: Chunk, bound: _Bound, clock: EngineClock) -> EncodedChunks:
        self._ids[:] = chunk.input_ids
        clock.run(bound.call)
        hidden = bound.hidden[0].astype(np.float32)
        pooled = None if bound.pooled is None else bound.pooled[0].astype(np.float32)
        return EncodedChunks(weigh(hidden, chunk.weights) if chunk.is_weighted else hidden, pooled)

    def _set_concepts(self, concepts: Sequence[Concept]) -> None:
        table = ConceptTable(concepts, self._tokenizer, self.width)
        self._chunker = Chunker(self._tokenizer, self._long_prompts, table)
        self._inputs: dict[str, Array] = {"input_ids": self._ids}
        for spec in self._engine.inputs:
            if spec.name == _CONCEPTS:
                self._inputs[_CONCEPTS] = np.ascontiguousarray(table.vectors, spec.dtype)
        self._calls: dict[int, _Bound] = {}

    def _bound(self, clip_skip: int) -> _Bound:
        if clip_skip not in self._calls:
            spec = self._outputs[self._output(clip_skip)]
            outputs: dict[str, Array] = {
                spec.name: np.empty((1, self.chunk_length, self.width), spec.dtype)
            }
            if (name := self._encoding.pooled) is not None:
                outputs[name] = np.empty((1, self.pooled_width), self._outputs[name].dtype)
            call = self._engine.bind({**self._inputs, **outputs})
            self._calls[clip_skip] = _Bound(call, *outputs.values())
        return self._calls[clip_skip]

    def _output(self, clip_skip: int) -> str:
        return self._encoding.output(self._num_layers, clip_skip)

    def _fixed_width(self, output: str) -> int:
        spec = self._outputs[output]
        width = spec.shape[-1]
        if not isinstance(width, int):
            raise TypeError(f"{spec} has no fixed width")
        return width


class EncodedChunks(NamedTuple):
    """What a text encoder makes of a prompt.

    Attributes:
        embeds: (chunk length × chunks, width) float32.
        pooled: (pooled width,) float32, where the family uses it.
    """

    embeds: FloatArray
    pooled: FloatArray | None


class _Bound(NamedTuple):
    call: Call
    hidden: Array
    pooled: Array | None = None
