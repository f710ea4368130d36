"""Train the tokenizer: byte-level BPE in CLIP's format, on the captions.

As in CLIP, the vocabulary is the 256 bytes, the same 256 at a word's end (`</w>`), one entry for
each merge, and the two special tokens; so every string has a tokenization.

Run: python -m models.shapes.tokenizer
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from models.shapes.captions import describe
from models.shapes.scenes import training_scenes

FOLDER = Path(__file__).parent / "checkpoint" / "tokenizer"
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
MODEL_MAX_LENGTH = 77
CAPTIONS, SEED, MAX_VOCABULARY = 20_000, 0, 2_000
WORD = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def byte_symbols() -> list[str]:
    """List the printable stand-ins of the 256 bytes in the order of CLIP's vocabulary."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]


def learn_merges(captions: list[str]) -> list[tuple[str, str]]:
    """Return the merges of byte-level BPE over lower-cased words, most frequent first."""
    learner = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    learner.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    learner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MAX_VOCABULARY,
        min_frequency=2,
        end_of_word_suffix=WORD_END,
        show_progress=False,
    )
    learner.train_from_iterator(captions, trainer)
    merges = json.loads(learner.to_str())["model"]["merges"]
    return [(left, right) for left, right in merges]


def save_tokenizer(merges: list[tuple[str, str]], folder: Path) -> None:
    """Write the four files of a CLIP tokenizer folder."""
    symbols = byte_symbols()
    words = [*symbols, *(symbol + WORD_END for symbol in symbols)]
    words += [left + right for left, right in merges]
    vocabulary = {word: index for index, word in enumerate([*dict.fromkeys(words), BOS, EOS])}
    special = {"bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "pad_token": EOS}
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": MODEL_MAX_LENGTH,
        "do_lower_case": True,
        "add_prefix_space": False,
        "errors": "replace",
        **special,
    }
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _write_json(folder / "vocab.json", vocabulary)
    _write_json(folder / "special_tokens_map.json", special)
    _write_json(folder / "tokenizer_config.json", config)


def main() -> None:
    """Train on freshly drawn captions and write the folder of the checkpoint."""
    rng = np.random.default_rng(SEED)
    captions = [describe(scene, rng) for scene in training_scenes(CAPTIONS, SEED)]
    save_tokenizer(learn_merges(captions), FOLDER)


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
