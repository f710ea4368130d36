"""``sdopt bench BUNDLE`` on real engines, and its record."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import sdopt
from sdopt.bench.bench_record import BenchRecord
from sdopt.bench.record import kind_of, read_record, record_text, write_record
from sdopt.bench.sides import Side, running, sdopt_side
from sdopt.bench.work import Case, sizes, whole_numbers
from sdopt.errors import InvalidValueError, MeasuringError, RecordError
from tests.bench.slowed import Brake, Contender, verdict_on
from tests.cli.conftest import Cli

SMALL = ["--size", "64x64", "--steps", "2", "--warmups", "1"]
CASE = Case(height=64, width=64, batch=1, num_inference_steps=8, guidance_scale=3.0)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A record of the carried model, and what was printed."""
    import subprocess

    path = tmp_path_factory.mktemp("bench") / "new" / "record.json"
    amount = ["--runs", "2", "--processes", "2", "--batch", "1,2", "--json", str(path)]
    command = [sys.executable, "-m", "sdopt", "bench", "shapes", *SMALL, *amount]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return path, done.stdout


def test_the_stages_add_up_to_the_wall_time(measured: tuple[Path, str]) -> None:
    record = read_record(BenchRecord, measured[0])
    assert [case.case.batch for case in record.cases] == [1, 2]
    for case in record.cases:
        assert [len(process) for process in case.processes] == [2, 2]
        assert case.unaccounted < 0.02
        for sample in case.samples:
            assert len(sample.unet_calls_s) == 2
            assert "text_encoder" in sample.stages_s  # no encoded prompt was kept


def test_a_record_says_what_was_measured_and_where(measured: tuple[Path, str]) -> None:
    record = read_record(BenchRecord, measured[0])
    subject, processor = record.subject, record.environment.processor
    assert (subject.bundle, subject.engine, subject.device) == ("shapes", "onnxruntime", "cpu")
    assert subject.precisions == dict.fromkeys(("text_encoder", "unet", "vae_decoder"), "fp32")
    assert len(subject.bundle_sha256) == 64
    assert subject.unet_clock == "host"
    assert processor.cores >= 1
    assert record.environment.versions["sdopt"] == sdopt.__version__
    assert record.command[:3] == ("sdopt", "bench", "shapes")
    assert len(record.starts) == len(record.memory) == 2
    for start in (record.first_start, *record.starts):
        assert min(start.interpreter_s, start.import_s, start.load_s, start.first_picture_s) > 0
    assert all(memory.host_bytes > 50e6 for memory in record.memory)
    assert record.left_out


def test_what_is_printed(measured: tuple[Path, str]) -> None:
    out = measured[1]
    assert "shapes on onnxruntime fp32 (cpu)" in out
    assert "64x64, batch 2, 2 steps, the bundle's scheduler, guidance 3" in out
    for label in ("unet, each other call", "vae decoder", "whole request", "Cold start", "±"):
        assert label in out


def test_a_record_is_read_strictly(measured: tuple[Path, str], tmp_path: Path) -> None:
    record = read_record(BenchRecord, measured[0])
    copy = tmp_path / "copy.json"
    write_record(record, copy)
    assert copy.read_text() == measured[0].read_text()
    assert kind_of(copy) == "bench"

    def refused(change: dict[str, Any]) -> str:
        copy.write_text(json.dumps({**json.loads(record_text(record)), **change}))
        with pytest.raises(RecordError) as caught:
            read_record(BenchRecord, copy)
        return str(caught.value).removeprefix(f"{copy}, ")

    again = "Records are what `sdopt bench --json FILE` and its sisters write: measure again."
    assert refused({"format_version": 2}) == (
        f"format_version: 2 is not 1, the version that this sdopt reads. {again}"
    )
    assert refused({"made": 1}) == f"record: unknown keys: 'made'. {again}"
    assert refused({"starts": 3}) == f"record.starts: a list is expected, not 3. {again}"
    assert refused({"kind": "compare"}).startswith("record.kind: 'compare' is not one of ['bench']")
    figures = record.figures() | {"peak_host_bytes": 1}
    assert refused({"figures": figures}) == f"figures: they are not what the samples say. {again}"
    copy.write_text("[]")
    with pytest.raises(RecordError, match="the whole file: an object is expected"):
        kind_of(copy)


def test_wrong_values_are_refused(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("bench", "shapes", "--size", "500") == 2
    assert "size='500' is not allowed. size is WIDTHxHEIGHT in pixels" in capsys.readouterr().err
    assert cli("bench", "nowhere") == 1
    assert "No bundle at 'nowhere'." in capsys.readouterr().err
    assert sizes("512x512, 768x512") == [(512, 512), (768, 512)]
    assert whole_numbers("batch", "1,2") == [1, 2]
    for text in ("0", "1,,2", "two", "-1", "²"):
        with pytest.raises(InvalidValueError, match="batch is whole numbers above 0"):
            whole_numbers("batch", text)


def test_a_process_that_fails_says_why() -> None:
    side = sdopt_side("shapes", engine="onnxruntime", precision="bf16")
    with pytest.raises(MeasuringError) as caught, running(side):
        pass
    assert str(caught.value) == (
        "sdopt onnxruntime bf16 could not be measured. 'onnxruntime in bf16' is not available here."
        " Available: fp32. ONNX Runtime computes as the bundle says: export it with --precision "
        "bf16."
    )
    code = "import sys; print('a last word', file=sys.stderr); sys.exit(3)"
    crashing = Side(name="it", command=(sys.executable, "-c", code), setup={})
    with pytest.raises(MeasuringError) as caught, running(crashing):
        pass
    assert str(caught.value) == (
        "it could not be measured. The process ended with exit code 3: a last word."
    )


@pytest.mark.slow
def test_a_slowed_engine_is_found_and_an_equal_one_is_not() -> None:
    """Twenty times, with real engines that take turns on a real clock."""
    usual, equal, slowed = (sdopt.load("shapes") for _ in range(3))
    sides: dict[str, Contender] = {"equal": (equal, None), "slowed": (slowed, Brake(slowed))}
    for side in sides.values():
        verdict_on(side, usual, CASE, 12)  # warm-up
    verdicts = {
        name: [verdict_on(side, usual, CASE, 12) for _ in range(20)] for name, side in sides.items()
    }
    assert verdicts["slowed"] == ["slower"] * 20
    assert "slower" not in verdicts["equal"]
