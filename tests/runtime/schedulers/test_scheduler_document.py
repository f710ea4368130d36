"""The examples of docs/schedulers.md do what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sdopt.runtime.schedulers import SCHEDULERS

DOCUMENT = (Path(__file__).parents[3] / "docs" / "schedulers.md").read_text(encoding="utf-8")


def test_examples_run() -> None:
    examples = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert len(examples) == 3
    names: dict[str, Any] = {}
    for example in examples:
        exec(example, names)
    assert names["plan"].name == "dpmpp_2m_karras"
    assert names["churned"].noise_draws > 0
    assert names["chosen"].stages == 10


def test_the_options_of_the_page_are_those_of_the_table() -> None:
    for option in ("eta", "churn", "timesteps", "sigmas"):
        (listed,) = re.findall(rf"^\| `{option}` \| (.*?) \|", DOCUMENT, re.MULTILINE)
        patterns = [re.escape(name).replace(r"\*", ".*") for name in re.findall(r"`(.*?)`", listed)]
        names = {s.name for s in SCHEDULERS if any(re.fullmatch(p, s.name) for p in patterns)}
        assert names == {spec.name for spec in SCHEDULERS if option in spec.honours}
