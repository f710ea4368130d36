"""`make bench`: its steps are commands that exist, and what has a record is not measured again."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click
import pytest

from benchmarks import everything
from sdopt.engines.catalog import ENGINES


def test_every_engine_that_can_run_is_measured() -> None:
    steps = dict(everything.small())
    engines = everything.there()
    assert "onnxruntime" in engines
    assert set(engines) <= set(ENGINES)
    assert [name for name in steps if name.startswith("bench")] == [
        f"bench_shapes_{engine}" for engine in engines
    ]
    for command in steps.values():
        if "sdopt" in command:
            parsed(command[command.index("bench") + 1 :])


def parsed(arguments: list[str]) -> None:
    """Let the command's own parser read what follows ``sdopt bench``, without running it."""
    name = "compare" if arguments[0] == "compare" else "bundle"
    command: click.Command = import_module(f"sdopt.cli.bench.{name}").command
    assert command.make_context(name, arguments[name == "compare" :]).params


def test_what_has_a_record_is_not_measured_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "record.json"
    record.touch()
    everything.run(record, ["not-a-command"])
    assert capsys.readouterr().out == "record.json is there already\n"
