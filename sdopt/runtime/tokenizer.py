"""CLIP's tokenizer, from either layout on disk, equal to ``transformers.CLIPTokenizer``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from sdopt.errors import BundleError, InvalidValueError

_MAX_LENGTH = 77
_WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
_DEFAULT_TOKENS = {
    "bos_token": "<|startoftext|>",
    "eos_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
}


class Token(NamedTuple):
    """One token of a text.

    Attributes:
        id: In the vocabulary; negative for a vector of a concept.
        start: Where in the text it begins.
        joined: Whether it belongs to the token before it, so that nothing may part them.
    """

    id: int
    start: int
    joined: bool = False


@dataclass(frozen=True, slots=True)
class TokenizedPrompts:
    """What a tokenizer makes of texts.

    Attributes:
        input_ids: (batch, max_length) int64: start, the text's tokens, end, padding.
        cut: Per text, the end of it that did not fit; empty where everything did.
    """

    input_ids: NDArray[np.int64]
    cut: tuple[str, ...]


class ClipTokenizer:
    """Turns texts into ids.

    Attributes:
        max_length: Ids per text, start and end included.
    """

    def __init__(self, tokenizer: Tokenizer, tokens: Mapping[str, str], max_length: int) -> None:
        self._tokenizer = tokenizer
        self._start = _id(tokenizer, tokens["bos_token"])
        self._end = _id(tokenizer, tokens["eos_token"])
        self._padding = _id(tokenizer, tokens["pad_token"])
        self.max_length = max_length

    @classmethod
    def from_folder(cls, folder: Path) -> ClipTokenizer:
        """Read ``tokenizer.json``, or ``vocab.json`` and ``merges.txt``, with their settings.

        Raises:
            BundleError: The folder holds neither layout, or files that cannot be read.
        """
        settings = {
            **_json(folder / "special_tokens_map.json"),
            **_json(folder / "tokenizer_config.json"),
        }
        tokens = {
            key: _text(settings.get(key), default) for key, default in _DEFAULT_TOKENS.items()
        }
        length = settings.get("model_max_length", _MAX_LENGTH)
        usable = isinstance(length, int) and 2 < length <= 100_000
        try:
            return cls(_read(folder, tokens), tokens, length if usable else _MAX_LENGTH)
        except BundleError:
            raise
        except Exception as error:  # the tokenizers package raises bare Exception
            raise BundleError(f"The tokenizer in {folder} cannot be read: {error}") from error

    def __call__(self, texts: str | Sequence[str]) -> TokenizedPrompts:
        """Tokenize texts.

        Args:
            texts: One text or several; empty texts are fine.

        Returns:
            Ids of shape (batch, max_length), and what did not fit.

        Raises:
            InvalidValueError: A text holds a lone surrogate, which is no Unicode text.
        """
        batch = [texts] if isinstance(texts, str) else list(texts)
        ids = np.empty((len(batch), self.max_length), np.int64)
        cut = tuple(self._fill(row, text) for row, text in zip(ids, batch, strict=True))
        return TokenizedPrompts(ids, cut)

    def tokens(self, text: str) -> list[Token]:
        """Return the tokens of a text of any length, without start and end.

        Raises:
            InvalidValueError: The text holds a lone surrogate, which is no Unicode text.
        """
        try:
            encoding = self._tokenizer.encode(text, add_special_tokens=False)
        except (UnicodeEncodeError, TypeError) as error:
            raise InvalidValueError(
                "prompt", text, "Unicode text without lone surrogates"
            ) from error
        starts = (begin for begin, _ in encoding.offsets)
        return [Token(*pair) for pair in zip(encoding.ids, starts, strict=True)]

    def framed(self, ids: Sequence[int]) -> NDArray[np.int64]:
        """Put at most ``max_length - 2`` tokens between start and end, and pad.

        Returns:
            (max_length,) int64, a new array.
        """
        framed = np.full(self.max_length, self._padding, np.int64)
        framed[: len(ids) + 2] = [self._start, *ids, self._end]
        return framed

    def id_of(self, token: str) -> int | None:
        """Return the id of an entry of the vocabulary, such as ``",</w>"``, if it is there."""
        number: int | None = self._tokenizer.token_to_id(token)
        return number

    def _fill(self, row: NDArray[np.int64], text: str) -> str:
        tokens, room = self.tokens(text), self.max_length - 2
        row[:] = self.framed([token.id for token in tokens[:room]])
        return text[tokens[room].start :] if len(tokens) > room else ""


def _read(folder: Path, tokens: Mapping[str, str]) -> Tokenizer:
    whole, vocab, merges = (
        folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt")
    )
    if vocab.is_file() and merges.is_file():
        return _from_vocab(vocab, merges, tokens)
    if not whole.is_file():
        raise BundleError(f"{folder} holds neither tokenizer.json nor vocab.json with merges.txt.")
    tokenizer = Tokenizer.from_file(str(whole))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _from_vocab(vocab: Path, merges: Path, tokens: Mapping[str, str]) -> Tokenizer:
    model = models.BPE.from_file(
        str(vocab),
        str(merges),
        unk_token=tokens["unk_token"],
        continuing_subword_prefix="",
        end_of_word_suffix="</w>",
        fuse_unk=False,
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    split = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    special = sorted(set(tokens.values()))
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in special])
    return tokenizer


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _text(token: Any, default: str) -> str:
    """Read a token as transformers writes it: a string, or an object with ``content``."""
    return token.get("content", default) if isinstance(token, dict) else token or default


def _id(tokenizer: Tokenizer, token: str) -> int:
    number = tokenizer.token_to_id(token)
    if number is None:
        raise BundleError(f"The tokenizer has no token {token!r}.")
    return number
