"""Quality beside speed: the record, its intervals, and the script that writes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from scipy import stats

from sdopt.bench.kinds import read_all
from sdopt.bench.quality_record import QualityRecord, wilson
from sdopt.bench.record import read_record
from sdopt.bench.report.write import write_report

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("right", "total"), [(90, 100), (0, 10), (10, 10), (1, 3)])
def test_a_shares_interval_is_wilsons(right: int, total: int) -> None:
    expected = stats.binomtest(right, total).proportion_ci(0.95, method="wilson")
    share = wilson(right, total)
    assert share.value == right / total
    assert (share.low, share.high) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_the_carried_model_is_judged_and_timed(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    path = tmp_path / "quality.json"
    script = [sys.executable, "-m", "benchmarks.quality", str(path), "--prompts", "4"]
    sides = ["--side", "onnxruntime:fp32", "--side", "openvino:fp32", "--steps", "1,8"]
    subprocess.run([*script, *sides], cwd=ROOT, check=True, capture_output=True)
    record = read_record(QualityRecord, path)
    names = [(row.name, row.num_inference_steps) for row in record.rows]
    assert names == [(f"{e} fp32", n) for e in ("onnxruntime", "openvino") for n in (1, 8)]
    one, eight, _, same = record.rows
    assert one.right == 0  # a single step draws nothing
    assert eight.right >= 2
    assert eight.median_psnr_db is None  # against itself
    assert same.median_psnr_db is None or same.median_psnr_db > 45
    assert abs(same.right - eight.right) <= 1
    paths = write_report(read_all(path), tmp_path)
    assert [file.name for file in paths] == ["report.html", "quality-quality.png"]
