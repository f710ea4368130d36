"""Export, verify and use a model of true size: time, largest process, size on disk.

    python benchmarks/real_sizes.py RECORD.json --family sdxl --precision fp16 [--folder FOLDER]

Everything from the command line, each command in a process of its own, one after the other. The
checkpoint has random weights, stored in float16 for SDXL and in float32 otherwise, as the published
ones are. FOLDER keeps the checkpoint for the next run; the bundle is removed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from export_time import run
from machine import machine, versions

CHECKPOINTS = Path(__file__).parent / "make_checkpoint.py"
PROMPT = "a photograph of an astronaut riding a horse"
SIDE, STEPS = 256, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("record", type=Path)
    parser.add_argument("--family", choices=("sd15", "sd21", "sdxl"), required=True)
    parser.add_argument("--precision", choices=("fp16", "fp32"), required=True)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    checkpoint, bundle = folder / options.family, folder / f"{options.family}-{options.precision}"
    if not (checkpoint / "model_index.json").is_file():
        stored = "float16" if options.family == "sdxl" else "float32"
        make = [str(CHECKPOINTS), str(checkpoint), "--family", options.family, "--dtype", stored]
        run([sys.executable, *make])
    shutil.rmtree(bundle, ignore_errors=True)
    figures = {name: run(command) for name, command in commands(options, checkpoint, bundle)}
    sizes = {"checkpoint_gb": size_gb(checkpoint), "bundle_gb": size_gb(bundle)}
    write(options, figures, sizes)
    shutil.rmtree(bundle)
    if options.folder is None:
        shutil.rmtree(folder)


def commands(
    options: argparse.Namespace, checkpoint: Path, bundle: Path
) -> list[tuple[str, list[str]]]:
    """Return what is run, in order."""
    sdopt = [sys.executable, "-m", "sdopt"]
    size = ["--width", str(SIDE), "--height", str(SIDE), "--steps", str(STEPS), "--seed", "0"]
    picture = str(bundle.with_suffix(".png"))
    return [
        (
            "export",
            [*sdopt, "export", str(checkpoint), str(bundle), "--precision", options.precision],
        ),
        ("verify", [*sdopt, "verify", str(bundle)]),
        ("generate", [*sdopt, "generate", str(bundle), PROMPT, "-o", picture, *size]),
    ]


def size_gb(folder: Path) -> float:
    """Return the size of a folder's files, in gigabytes."""
    return round(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e9, 2)


def write(
    options: argparse.Namespace, figures: dict[str, dict[str, float]], sizes: dict[str, float]
) -> None:
    """Write the record."""
    record = {
        "what": f"{options.family} at its true size with random weights, {options.precision}: "
        f"export with parity check, verify, one {SIDE}x{SIDE} picture in {STEPS} guided steps",
        "method": "one run of each command; what else the machine does changes times, not memory",
        "machine": machine(),
        "versions": versions("onnxruntime", "torch", "diffusers", "onnx", "onnxscript"),
        "largest_process_gb": max(f["largest_process_gb"] for f in figures.values()),
        **sizes,
        **figures,
    }
    options.record.parent.mkdir(parents=True, exist_ok=True)
    options.record.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
