"""The rooms' walls, checked by import-linter, and what the runtime may not import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Finds and refuses every import of a blocked package, wherever it comes from.
BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is blocked in this test")

sys.meta_path.insert(0, Blocker())
"""
EXPORT_ONLY = ("torch", "diffusers", "transformers", "onnx", "onnxscript", "optimum")

MAKE_A_PICTURE = """
import sdopt

pipeline = sdopt.load("shapes")
result = pipeline("a red circle on a blue background", num_inference_steps=2, seed=0)
assert result.images[0].size == (96, 96), result.images[0].size
print("made", result.seeds)
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_blocker_blocks() -> None:
    done = run(BLOCKER.format(blocked=EXPORT_ONLY) + "import torch")
    assert done.returncode != 0
    assert "torch is blocked in this test" in done.stderr


def test_a_picture_is_made_without_torch() -> None:
    done = run(BLOCKER.format(blocked=EXPORT_ONLY) + MAKE_A_PICTURE)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "made (0,)\n"


def test_importing_sdopt_imports_the_standard_library_alone() -> None:
    done = run("import sys; old = set(sys.modules); import sdopt; print(*set(sys.modules) - old)")
    imported = {name.split(".")[0] for name in done.stdout.split()}
    assert "sdopt" in imported
    assert imported - {"sdopt"} <= sys.stdlib_module_names
