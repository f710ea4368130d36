"""A bundle's name appears when all of it is there, and not before."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sdopt.bundle.writer import writing_aside
from sdopt.errors import BundleWriteError
from tests.bundle.small_bundle import write_small_bundle


def test_the_folder_appears_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "new" / "bundle"
    with writing_aside(out) as folder:
        (folder / "file").write_text("x")
        assert not out.exists()
    assert (out / "file").read_text() == "x"
    assert [path.name for path in out.parent.iterdir()] == ["bundle"]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), writing_aside(tmp_path / "bundle"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "precious").write_text("x")
    with pytest.raises(BundleWriteError) as caught, writing_aside(out):
        pass
    assert str(caught.value) == (
        f"Cannot write the bundle {out}: it exists already. "
        "Choose another name, or remove it first if you no longer need it."
    )
    assert (out / "precious").read_text() == "x"


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    write_small_bundle(tmp_path / "bundle")
    assert (tmp_path / "bundle" / "sdopt.json").is_file()


def test_a_full_disk_is_explained(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    with pytest.raises(BundleWriteError) as caught, writing_aside(out):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(caught.value) == (
        f"Cannot write the bundle {out}: No space left on device. "
        "Free some space or choose another folder, and run the command again."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_no_bundle_and_the_next_one_clears_up(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    script = (
        "import sys, time; from pathlib import Path\n"
        "from sdopt.bundle.writer import writing_aside\n"
        "with writing_aside(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half').write_text('x'); print('ready', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(out)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
    left = [path.name for path in tmp_path.iterdir()]
    assert left == [f".bundle.{process.pid}.partial"]
    write_small_bundle(out)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / f".bundle.{os.getppid()}.partial"
    other.mkdir()
    write_small_bundle(tmp_path / "bundle")
    assert other.is_dir()
