"""Memory on huge pages: what is asked for, and that nothing in it changes."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest

from sdopt.engines import huge_pages
from sdopt.engines.huge_pages import use_huge_pages

MB = 2**20
SMAPS = """\
7f0000000000-7f0004000000 rw-p 00000000 00:00 0 
Size:              65536 kB
Rss:               {rss} kB
AnonHugePages:     {huge} kB
VmFlags: rd wr mr mw me ac
"""  # noqa: W291 - as Linux writes it


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[int, int]]:
    """Stand in for the kernel: note what is asked for, and do it at once."""
    calls: list[tuple[int, int]] = []

    monkeypatch.setattr(huge_pages.ctypes, "CDLL", lambda _: Madvise(calls))
    monkeypatch.setattr(huge_pages, "_SMAPS", tmp_path / "smaps")
    monkeypatch.setattr(huge_pages, "_ENABLED", tmp_path / "enabled")
    (tmp_path / "enabled").write_text("always [madvise] never\n")
    return calls


class Madvise:
    """The C library's function, which takes attributes."""

    def __init__(self, calls: list[tuple[int, int]]) -> None:
        def madvise(begin: int, size: int, advice: int) -> int:
            assert advice == 25
            calls.append((begin, size))
            return 0

        self.madvise = madvise


def test_large_regions_in_use_are_moved(asked: list[tuple[int, int]], tmp_path: Path) -> None:
    (tmp_path / "smaps").write_text(SMAPS.format(rss=65536, huge=0))
    assert use_huge_pages() == 64 * MB
    assert asked == [(0x7F0000000000, 64 * MB)]


@pytest.mark.parametrize(
    "smaps",
    [
        SMAPS.format(rss=16384, huge=0),
        SMAPS.format(rss=65536, huge=65536),
        SMAPS.format(rss=65536, huge=0).replace("rw-p", "r--p"),
        SMAPS.format(rss=65536, huge=0).replace("00:00 0 ", "08:01 77 /a/file"),
        SMAPS.format(rss=65536, huge=0).replace("7f0004000000", "7f0000100000"),
    ],
    ids=["hardly used", "moved before", "read-only", "a file", "small"],
)
def test_others_stay(asked: list[tuple[int, int]], tmp_path: Path, smaps: str) -> None:
    (tmp_path / "smaps").write_text(smaps)
    assert use_huge_pages() == 0
    assert not asked


def test_only_whole_huge_pages_are_asked_for(asked: list[tuple[int, int]], tmp_path: Path) -> None:
    text = SMAPS.format(rss=65536, huge=0).replace("7f0000000000", "7f0000001000")
    (tmp_path / "smaps").write_text(text)
    assert use_huge_pages() == 62 * MB
    assert asked == [(0x7F0000200000, 62 * MB)]


def test_who_switched_them_off_is_obeyed(asked: list[tuple[int, int]], tmp_path: Path) -> None:
    (tmp_path / "smaps").write_text(SMAPS.format(rss=65536, huge=0))
    (tmp_path / "enabled").write_text("always madvise [never]\n")
    assert use_huge_pages() == 0
    (tmp_path / "enabled").unlink()
    assert use_huge_pages() == 0
    assert not asked


def test_values_stay_what_they_are() -> None:
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    values = np.frombuffer(mmap.mmap(-1, 64 * MB, flags=private), np.float64)
    before = np.random.default_rng(0).random(values.size)
    values[:] = before
    moved = use_huge_pages()
    assert np.array_equal(values, before)
    if moved == 0:
        pytest.skip("this kernel moved nothing: older than 6.1, switched off, or no free memory")
    assert moved >= 60 * MB
