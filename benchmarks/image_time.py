"""Time sdopt beside diffusers and Optimum on one checkpoint, picture by picture in turn.

    python benchmarks/image_time.py RECORD.json --bundle BUNDLE --checkpoint CHECKPOINT \
        [--engine onnxruntime --engine openvino] [--dtype float32 --dtype bfloat16] \
        [--optimum ONNX_FOLDER --optimum-python VENV/bin/python] [--rounds 5]

All sides are loaded, each in a process of its own; after one picture each as a warm-up, every
round makes one picture with each side, so that whatever else the machine does hits all of them.
Ratios of medians are what to quote.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from machine import machine, versions

WORKER = Path(__file__).parent / "peers" / "image_worker.py"


class Side:
    """One process that makes pictures on demand."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.start = self._read()
        self.pictures: list[dict[str, float]] = []

    def picture(self) -> dict[str, float]:
        """Make one picture and return its figures."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def record(self) -> dict[str, object]:
        """Return medians over the measured pictures, and all of them."""
        names = self.pictures[0].keys()
        medians = {name: round(median(p[name] for p in self.pictures), 4) for name in names}
        rounded = [{name: round(value, 4) for name, value in p.items()} for p in self.pictures]
        start = {name: round(self.start[name], 3) for name in ("import_s", "load_s")}
        return {**start, "median": medians, "pictures": rounded}

    def _read(self) -> dict[str, float]:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"{self.name} ended with exit code {self._process.wait()}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("record", type=Path)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--engine", action="append", help="Of sdopt; can be given repeatedly.")
    parser.add_argument("--dtype", action="append", help="Of diffusers; can be given repeatedly.")
    parser.add_argument("--optimum", help="A folder that optimum-cli export onnx wrote.")
    parser.add_argument("--optimum-python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    commands = _commands(options)
    sides = [Side(name, command) for name, command in commands.items()]
    for side in sides:
        side.picture()
    for round_ in range(options.rounds):
        for side in sides:
            side.pictures.append(side.picture())
        shown = ", ".join(f"{side.name} {side.pictures[-1]['image_s']:.2f} s" for side in sides)
        print(f"round {round_ + 1}: {shown}", flush=True)
    for side in sides:
        side.close()
    record = _record(options, sides)
    options.record.parent.mkdir(parents=True, exist_ok=True)
    options.record.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record["ratios"], indent=2))


def _commands(options: argparse.Namespace) -> dict[str, list[str]]:
    """Return how each side is started, by name."""
    work = ["--size", str(options.size), "--steps", str(options.steps)]
    ours = [sys.executable, str(WORKER), "sdopt", options.bundle, *work]
    theirs = [sys.executable, str(WORKER), "diffusers", options.checkpoint, *work]
    engines, dtypes = options.engine or ["onnxruntime"], options.dtype or ["float32"]
    commands = {f"sdopt {engine}": [*ours, "--engine", engine] for engine in engines}
    commands |= {f"diffusers {dtype}": [*theirs, "--dtype", dtype] for dtype in dtypes}
    if options.optimum:
        optimum = [options.optimum_python, str(WORKER), "optimum", options.optimum, *work]
        commands["optimum"] = optimum
    return commands


def _ratios(seconds: dict[str, float]) -> dict[str, float]:
    """Return each of our sides' times over each peer's; dimensionless."""
    ours = {name: value for name, value in seconds.items() if name.startswith("sdopt")}
    return {
        f"{name} / {peer}": round(value / theirs, 3)
        for name, value in ours.items()
        for peer, theirs in seconds.items()
        if peer not in ours
    }


def _record(options: argparse.Namespace, sides: list[Side]) -> dict[str, object]:
    seconds = {side.name: median(p["image_s"] for p in side.pictures) for side in sides}
    return {
        "what": f"one picture, {options.size}x{options.size}, {options.steps} steps of the "
        "checkpoint's scheduler, guidance 7.5",
        "method": f"{options.rounds} rounds of one picture each in turn after one warm-up each, "
        "a new prompt each time",
        "machine": machine(),
        "versions": versions("onnxruntime", "openvino", "torch", "diffusers", "numpy"),
        "ratios": _ratios(seconds),
        "sides": {side.name: side.record() for side in sides},
    }


if __name__ == "__main__":
    main()
