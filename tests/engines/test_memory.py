"""Memory: the estimate against what was measured, and an error before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import sdopt
from sdopt.bundle.bundle import Bundle
from sdopt.engines import memory
from sdopt.engines.catalog import footprint
from sdopt.engines.memory import available_bytes, estimate
from sdopt.engines.options import EngineOptions
from sdopt.errors import InsufficientMemoryError

SD15_BYTES = {
    "text_encoder": 492_250_000,
    "unet": 3_439_000_000,
    "vae_decoder": 198_100_000,
    "loop_head": 2_058,
    "loop_tail": 6_041,
}
PEAKS_GB = {
    ("onnxruntime", 256): 4.45,
    ("onnxruntime", 384): 5.69,
    ("onnxruntime", 512): 7.39,
    ("openvino", 256): 9.31,
    ("openvino", 384): 9.62,
    ("openvino", 512): 10.22,
}
"""Peak resident memory of a process that made one guided picture of that size, mapped files
included: Stable Diffusion 1.5 at its true size in fp32 (OpenVINO: bf16)."""
LARGEST_ERROR = 0.05
"""Share of the measured peak: enough to say in advance whether a model fits."""


class Sd15(Bundle):
    """Has the sizes of Stable Diffusion 1.5 and none of its files."""

    def __init__(self, path: Path) -> None:
        small = Bundle.open("shapes")
        super().__init__(path, small.manifest)

    def component_bytes(self, name: str) -> int:
        return SD15_BYTES[name]


@pytest.fixture
def sd15(tmp_path: Path) -> Bundle:
    configs = {
        "unet": {"down_block_types": ["CrossAttnDownBlock2D"], "attention_head_dim": 8},
        "vae": {"block_out_channels": [128, 256, 512, 512]},
    }
    for name, config in configs.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    return Sd15(tmp_path)


@pytest.mark.parametrize(("engine", "size"), PEAKS_GB)
def test_the_estimate_is_close_to_what_was_measured(sd15: Bundle, engine: str, size: int) -> None:
    pytest.importorskip(engine)
    found = estimate(sd15, footprint(engine, EngineOptions()), height=size, width=size)
    peak_gb = (found.needed_bytes + found.mapped_bytes) / 1e9
    assert peak_gb == pytest.approx(PEAKS_GB[engine, size], rel=LARGEST_ERROR)


def test_more_rows_take_more(sd15: Bundle) -> None:
    found = footprint("onnxruntime", EngineOptions())
    one, two = (estimate(sd15, found, height=512, width=512, rows=rows) for rows in (1, 2))
    assert two.working_bytes > one.working_bytes
    assert two.weights_bytes == one.weights_bytes


def test_attention_below_the_highest_level_has_fewer_scores() -> None:
    sdxl = {
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "attention_head_dim": [5, 10, 20],
    }
    assert memory._largest_scores(sdxl, 128 * 128) == 10 * (64 * 64) ** 2
    assert memory._largest_scores({"down_block_types": ["DownBlock2D"]}, 64) == 0


def test_too_little_memory_is_an_error_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 100_000_000)
    monkeypatch.setattr(
        "sdopt.pipeline.open_engine", lambda *_: pytest.fail("an engine was opened")
    )
    with pytest.raises(InsufficientMemoryError) as caught:
        sdopt.load("shapes")
    assert str(caught.value) == (
        "About 0.2 GB of memory are needed, and 0.1 GB are available. End other programs, or take "
        "another engine: `sdopt info BUNDLE --engine NAME` tells how much each needs."
    )


def test_available_memory_is_the_systems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    7 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert available_bytes() == 7 * 1024


def test_or_its_containers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 700\nactive_file 50\ninactive_file 100\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert available_bytes() == 250
    (tmp_path / "memory.max").write_text("max\n")
    assert available_bytes() > 250


def test_without_either_there_is_no_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert available_bytes() == 2**63 - 1
