"""What docs/images.md shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

import sdopt
from sdopt.pipeline import Pipeline

DOCUMENT = Path(__file__).parents[1] / "docs" / "images.md"


def test_the_python_examples_run_in_order(
    shapes: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shapes("a large red circle on a blue background", seed=0).images[0].save("circle.png")
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), flags=re.DOTALL)
    assert len(blocks) == 6
    names: dict[str, object] = {"sdopt": sdopt, "pipeline": shapes}
    for block in blocks:
        exec(compile(block, DOCUMENT.name, "exec"), names)
    with Image.open("made.png") as made:
        assert made.size == (96, 96)
