"""What docs/prompts.md says of the syntax is what the parser does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sdopt.runtime.prompt_syntax import parse_prompt

DOCUMENT = Path(__file__).parents[2] / "docs" / "prompts.md"
ROWS = re.findall(
    r"^\| `(.+?)` \| ((?:`[^`]+` [\d.]+(?:, )?)+) \|$", DOCUMENT.read_text("utf-8"), re.MULTILINE
)


def test_there_are_examples() -> None:
    assert len(ROWS) == 8


@pytest.mark.parametrize(("prompt", "pieces"), ROWS)
def test_an_example(prompt: str, pieces: str) -> None:
    (segment,) = parse_prompt(prompt)
    expected = re.findall(r"`([^`]+)` ([\d.]+)", pieces)
    assert [(text, float(weight)) for text, weight in expected] == [
        (piece.text, pytest.approx(piece.weight, abs=5e-4)) for piece in segment
    ]
