"""Time sdopt's export of a checkpoint beside Optimum's, and the memory of the largest process.

    python benchmarks/export_time.py RECORD.json --checkpoint CHECKPOINT \
        --optimum-cli VENV/bin/optimum-cli [--rounds 2] [--keep FOLDER]

The two take turns, each from a fresh start into a fresh folder; sdopt's time includes its parity
check, Optimum's includes its own validation. Ratios of medians are what to quote.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from machine import machine, versions

CHILD = """
import json, resource, subprocess, sys, time
begin = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=sys.stderr).returncode
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"exit": code, "seconds": time.perf_counter() - begin,
                  "cpu_seconds": usage.ru_utime + usage.ru_stime,
                  "largest_process_gb": usage.ru_maxrss / 1e6}))
"""


def run(command: list[str]) -> dict[str, float]:
    """Run a command; ``ru_maxrss`` of its ended descendants is that of the largest of them."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *command],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=environment,
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if figures.pop("exit") != 0:
        raise RuntimeError(f"{command[0]} failed")
    return {name: round(value, 2) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("record", type=Path)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--optimum-cli", required=True)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="Keep the last exports in this folder.")
    options = parser.parse_args()
    runs: dict[str, list[dict[str, float]]] = {"sdopt": [], "optimum": []}
    folder = options.keep or Path(tempfile.mkdtemp())
    for round_ in range(options.rounds):
        for side, figures in runs.items():
            out = folder / side
            shutil.rmtree(out, ignore_errors=True)
            figures.append(run(_command(side, options, out)))
            print(f"round {round_ + 1}, {side}: {figures[-1]}", flush=True)
    record = _record(options, runs)
    options.record.parent.mkdir(parents=True, exist_ok=True)
    options.record.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record["ratios"], indent=2))
    if options.keep is None:
        shutil.rmtree(folder)


def _command(side: str, options: argparse.Namespace, out: Path) -> list[str]:
    if side == "sdopt":
        return [sys.executable, "-m", "sdopt", "export", options.checkpoint, str(out)]
    task = ["--task", "text-to-image"]
    return [options.optimum_cli, "export", "onnx", "-m", options.checkpoint, *task, str(out)]


def _record(
    options: argparse.Namespace, runs: dict[str, list[dict[str, float]]]
) -> dict[str, object]:
    medians = {side: median(r["seconds"] for r in figures) for side, figures in runs.items()}
    return {
        "what": "export of a whole SD 1.5 sized checkpoint in fp32, parity checks included",
        "method": f"{options.rounds} rounds, each side once in turn, from the command line",
        "machine": machine(),
        "versions": versions("onnxruntime", "torch", "diffusers", "onnx", "onnxscript"),
        "ratios": {"sdopt / optimum": round(medians["sdopt"] / medians["optimum"], 3)},
        "largest_process_gb": {
            side: max(r["largest_process_gb"] for r in figures) for side, figures in runs.items()
        },
        "runs": runs,
    }


if __name__ == "__main__":
    main()
