"""CLIP's tokenizer, which single files leave out: carried as its merges; the rest follows.

``clip/merges.txt.gz`` is OpenAI's list (MIT licence, ``clip/LICENSE``).
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from sdopt.errors import CheckpointError

START, END = "<|startoftext|>", "<|endoftext|>"
_MERGES = Path(__file__).parent / "clip" / "merges.txt.gz"
_WORDS = 49408
_LENGTH = 77


def check_vocabulary(path: Path, words: int) -> None:
    """Refuse a text encoder with another vocabulary.

    Raises:
        CheckpointError: It has.
    """
    if words != _WORDS:
        raise CheckpointError(
            path,
            f"its text encoder knows {words} tokens, where CLIP's tokenizer has {_WORDS}",
            "Save the model as a diffusers folder with its own tokenizer",
        )


def documents(folder: str, padding: str) -> dict[str, str]:
    """Write a tokenizer's files.

    Args:
        folder: Where they lie, such as ``"tokenizer"``.
        padding: The token behind the end of short prompts.

    Returns:
        The text of each file by its path.
    """
    merges = gzip.decompress(_MERGES.read_bytes()).decode()
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": _LENGTH,
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": padding,
    }
    return {
        f"{folder}/merges.txt": merges,
        f"{folder}/vocab.json": json.dumps(_vocabulary(merges), ensure_ascii=False),
        f"{folder}/tokenizer_config.json": json.dumps(config, indent=2) + "\n",
    }


def _vocabulary(merges: str) -> dict[str, int]:
    """Number the words: every byte, every byte at a word's end, every merge, start and end."""
    letters = _letters()
    merged = ["".join(line.split()) for line in merges.splitlines()[1:] if line.strip()]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *merged, START, END]
    return {word: index for index, word in enumerate(words)}


def _letters() -> list[str]:
    """Give each byte a printable character: its own in Latin-1, or one beyond it."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(len(others))]
