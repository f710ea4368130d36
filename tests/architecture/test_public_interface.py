"""What ``import sdopt`` offers is there, and the documented examples run."""

from __future__ import annotations

import doctest
import subprocess
import sys
from statistics import median

import pytest

import sdopt


@pytest.mark.parametrize("name", sdopt.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(sdopt, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'sdopt' has no attribute 'cheese'"):
        _ = sdopt.cheese  # type: ignore[attr-defined]


def test_the_example_in_the_docstring_runs() -> None:
    failed, attempted = doctest.testmod(sdopt)
    assert (failed, attempted) == (0, 4)


def test_importing_the_runtime_takes_a_tenth_of_importing_diffusers() -> None:
    """Both in processes of their own, in turn; the median of three each."""
    pytest.importorskip("diffusers", reason="needs sdopt[export]")
    ours, theirs = [], []
    for _ in range(3):
        ours.append(_seconds("import sdopt.pipeline, sdopt.engines.onnxruntime, onnxruntime"))
        theirs.append(_seconds("from diffusers import StableDiffusionPipeline"))
    assert median(ours) <= median(theirs) / 10


def _seconds(code: str) -> float:
    """Measure inside the process, so that the interpreter's own start does not count."""
    timed = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])
