"""Export, verify and use a model of true size: time, largest process, size on disk.

    python benchmarks/real_sizes.py benchmarks/records/sizes_sdxl_fp16.json \
        --family sdxl --precision fp16 --folder FOLDER [--stage export ...] [--optimum VENV]

Each stage is one command in a process of its own. Figures are added to RECORD.json stage by stage,
so that a machine can be borrowed for minutes at a time. The checkpoint has random weights, stored
in float16 for SDXL and in float32 otherwise, as the published ones are. FOLDER keeps the checkpoint
and what stages make of it.

A command whose processes together hold more than --limit-gb, or that takes longer than
--limit-minutes, is ended, and the record says so.
`python -m benchmarks.readme` lays the records out in docs/families.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import machine, versions

from sdopt.bench.peers.older_names import write_with_older_names

HERE = Path(__file__).parent
PROMPT = "A picture of a puppy"
SIDE, STEPS = 256, 4
SIZE = ["--size", str(SIDE), "--steps", str(STEPS)]
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
STAGES = ("export", "verify", "generate", "diffusers", "optimum export", "optimum")
MEMORY = """
import json, resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdin=sys.stdin, stdout=sys.stderr).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
print(json.dumps({"code": code, "largest_process_gb": round(peak, 2)}))
"""


@dataclass(frozen=True)
class Work:
    """What is measured.

    Attributes:
        family: ``"sd15"``, ``"sd21"`` or ``"sdxl"``.
        precision: Of sdopt's bundle, and of the peers as far as they have it.
        folder: Where everything lies.
        optimum: An environment with Optimum in it.
        engine: What runs sdopt's bundle.
    """

    family: str
    precision: str
    folder: Path
    optimum: Path | None
    engine: str

    @property
    def checkpoint(self) -> Path:
        """What every stage starts from."""
        return self.folder / self.family

    @property
    def older(self) -> Path:
        """The same with weight names as transformers 4 writes them: Optimum needs those."""
        return self.folder / f"{self.family}-older"

    @property
    def bundle(self) -> Path:
        """What sdopt exports."""
        return self.folder / f"{self.family}-{self.precision}"

    @property
    def onnx_folder(self) -> Path:
        """What Optimum exports."""
        return self.folder / f"{self.family}-{self.precision}-optimum"

    def command(self, stage: str) -> list[str]:
        """Return what a stage runs."""
        sdopt = [sys.executable, "-m", "sdopt"]
        worker = str(HERE / "peers" / "image_worker.py")
        exporting = ["--precision", self.precision]
        optimum = str(self.optimum or "")
        theirs = ["-m", str(self.older), "--task", "text-to-image", str(self.onnx_folder)]
        if self.precision != "fp32":
            theirs += ["--dtype", self.precision]
        dtype = [*SIZE, "--dtype", DTYPES[self.precision]]
        ours, engine = str(self.bundle), ["--engine", self.engine]
        commands = {
            "export": [*sdopt, "export", str(self.checkpoint), ours, *exporting],
            "verify": [*sdopt, "verify", ours, *engine],
            "generate": [sys.executable, worker, "sdopt", ours, *SIZE, *engine],
            "diffusers": [sys.executable, worker, "diffusers", str(self.checkpoint), *dtype],
            "optimum export": [f"{optimum}/bin/optimum-cli", "export", "onnx", *theirs],
            "optimum": [f"{optimum}/bin/python", worker, "optimum", str(self.onnx_folder), *SIZE],
        }
        return commands[stage]

    def made(self, stage: str) -> Path | None:
        """Return the folder that a stage makes."""
        return {"export": self.bundle, "optimum export": self.onnx_folder}.get(stage)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("record", type=Path)
    parser.add_argument("--family", choices=("sd15", "sd21", "sdxl"), required=True)
    parser.add_argument("--precision", choices=DTYPES, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--stage", action="append", choices=STAGES, dest="stages")
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--optimum", type=Path, help="An environment with optimum-onnx in it.")
    parser.add_argument("--limit-gb", type=float, default=17.0)
    parser.add_argument("--limit-minutes", type=float, default=15.0)
    options = parser.parse_args()
    work = Work(options.family, options.precision, options.folder, options.optimum, options.engine)
    if not (work.checkpoint / "model_index.json").is_file():
        stored = "float16" if work.family == "sdxl" else "float32"
        make = [sys.executable, str(HERE / "make_checkpoint.py"), str(work.checkpoint)]
        subprocess.run([*make, "--family", work.family, "--dtype", stored], check=True)
    for stage in options.stages or STAGES[:3]:
        if stage == "optimum export" and not work.older.is_dir():
            write_with_older_names(work.checkpoint, work.older)
        if made := work.made(stage):
            shutil.rmtree(made, ignore_errors=True)
        figures = run(work.command(stage), options.limit_gb, 60 * options.limit_minutes)
        if made and made.is_dir():
            figures["disk_gb"] = size_gb(made)
        write(options.record, work, stage, figures)


def run(command: list[str], limit_gb: float, limit_s: float) -> dict[str, Any]:
    """Run a command to its end, or until its processes hold too much or take too long.

    ``largest_process_gb`` is the peak resident set of the largest process, mapped files included.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", MEMORY, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert process.stdin is not None
    process.stdin.write("\n")  # one picture
    process.stdin.close()
    most = 0.0
    while process.poll() is None:
        most = max(most, held_gb(process.pid))
        if most > limit_gb:
            os.killpg(process.pid, 9)
            process.wait()
            return {"ended_beyond_gb": limit_gb}
        if time.perf_counter() - begin > limit_s:
            os.killpg(process.pid, 9)
            process.wait()
            return {"ended_after_s": limit_s, "all_processes_gb": round(most, 2)}
        time.sleep(0.5)  # looking costs what is measured: it walks through every page
    assert process.stdout is not None
    figures: dict[str, Any] = json.loads(process.stdout.readlines()[-1])
    seconds = round(time.perf_counter() - begin, 1)
    if code := figures.pop("code"):
        return {"failed_with": code, "seconds": seconds, **figures}
    return {"seconds": seconds, **figures, "all_processes_gb": round(most, 2)}


def held_gb(group: int) -> float:
    """Return what the processes of a group hold together; pages that they share count once."""
    kilobytes = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(folder.name)) == group:
                lines = (folder / "smaps_rollup").read_text().splitlines()
                kilobytes += next(int(x.split()[1]) for x in lines if x.startswith("Pss:"))
        except (OSError, StopIteration):  # it has ended
            continue
    return kilobytes * 1024 / 1e9


def size_gb(folder: Path) -> float:
    """Return the size of a folder's files, in gigabytes."""
    return round(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e9, 2)


def write(path: Path, work: Work, stage: str, figures: dict[str, Any]) -> None:
    """Add a stage's figures to the record."""
    known = json.loads(path.read_text()) if path.is_file() else {}
    stages = known.get("stages", {}) | {stage: figures}
    record = {
        "what": f"{work.family} at its true size with random weights, {work.precision}: export "
        f"with parity check, verify, one {SIDE}x{SIDE} picture in {STEPS} guided steps",
        "method": "one run of each command in a process of its own, imports and loading included",
        "family": work.family,
        "precision": work.precision,
        "engine": work.engine,
        "checkpoint_gb": size_gb(work.checkpoint),
        "machine": machine(),
        "versions": versions("onnxruntime", "openvino", "torch", "diffusers", "onnx", "onnxscript"),
        "stages": {name: stages[name] for name in STAGES if name in stages},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(stage, json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
