"""What the README shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_examples_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert (tmp_path / "circle.png").is_file()
    assert "(0, 1)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "CHANGELOG.md"]
)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(
        r"\]\((?!https?://)([^)#]+)", (ROOT / name).read_text(encoding="utf-8")
    ):
        assert (ROOT / target).exists(), f"{name} links to {target}"


def test_the_tests_that_architecture_names_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = text.split("## Invariants")[1].split("\n## ")[0]
    paths = re.findall(r"`(tests/[\w/.]+)", table)
    assert len(paths) > 8
    for path in paths:
        assert (ROOT / path).exists(), path


def test_the_tables_are_what_the_records_say() -> None:
    """`python -m benchmarks.readme` writes them."""
    from benchmarks.readme import BLOCK, PAGES, written

    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert written(text) == text, page
    assert len(BLOCK.findall(README)) >= 3
    changed = re.sub(r"(records: export_sd15 -->(?:\n.*){2}\n\| sdopt \| )\d+", r"\g<1>1", README)
    assert changed != README
    assert written(changed) == README
