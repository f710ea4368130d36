"""The full comparison and its report, in one command: `make bench`.

    python benchmarks/everything.py OUT [--without-sd15]

Measures the carried model on every engine, beside every peer, and for quality; then the same speeds
for Stable Diffusion 1.5 at its true size with random weights, if there are 20 GB of memory and
40 GB of disk, what is kept from before among them. Every step's record is kept: what has one
already is not measured again.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from sdopt.bench.peers.environments import kept
from sdopt.bench.random_bundle import random_model
from sdopt.engines.catalog import COMPILED_FOR_ONE_SIZE, ENGINES, offered
from sdopt.engines.memory import available_bytes

ROOT = Path(__file__).parents[1]
SHAPES = ROOT / "models" / "shapes" / "checkpoint"
SDOPT = (sys.executable, "-m", "sdopt")
MEMORY_BYTES, DISK_BYTES = 20e9, 40e9
Step = tuple[str, list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--without-sd15", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    steps = [*small(), *([] if options.without_sd15 else large(options.out))]
    for name, command in steps:
        run(options.out / f"{name}.json", command)
    subprocess.run([*SDOPT, "bench", "report", str(options.out)], check=True)
    minutes = (time.monotonic() - begin) / 60
    print(f"Done in {minutes:.0f} minutes: {options.out / 'report.html'}")


def small() -> Iterator[Step]:
    """Give what is measured of the carried model."""
    for engine in there():
        what = ["shapes", "--engine", engine, "--profile", "--batch", "1,2,4"]
        yield f"bench_shapes_{engine}", [*SDOPT, "bench", *what]
    yield "quality_shapes", [sys.executable, "-m", "benchmarks.quality"]
    turns = ["--peers", "all", "--rounds", "6", "--starts", "3"]
    yield "compare_shapes", [*SDOPT, "bench", "compare", "shapes", str(SHAPES), *ours(), *turns]


def large(out: Path) -> Iterator[Step]:
    """Give what is measured of Stable Diffusion 1.5, where there is room for it."""
    disk = shutil.disk_usage(out).free + _bytes(kept("."))
    if available_bytes() < MEMORY_BYTES or disk < DISK_BYTES:
        print("Too little memory or disk for Stable Diffusion 1.5: it is left out.")
        return
    print("Making Stable Diffusion 1.5 with random weights, if it is not kept", flush=True)
    model = random_model("sd15")
    work = ["--size", "256x256", "--steps", "4"]
    amount = ["--processes", "3", "--runs", "3", "--warmups", "1", "--profile"]
    for engine in there():
        what = [str(model.bundle), "--engine", engine, *work, *amount]
        yield f"bench_sd15_{engine}", [*SDOPT, "bench", *what]
    sides = [str(model.bundle), str(model.checkpoint), *ours(), "--peers", "all"]
    yield "compare_sd15", [*SDOPT, "bench", "compare", *sides, *work, "--rounds", "4"]


def _bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def there() -> list[str]:
    """Return the engines that can run here, the fastest first."""
    offers = [offered(name, "cpu") for name in ENGINES]
    return [offer.engine for offer in sorted(filter(None, offers), key=lambda o: o.rank)]


def ours() -> list[str]:
    """Return our sides of a comparison; its peers are compiled for the one size, too."""
    sides = []
    for engine in there():
        sides += [f"{engine}:fixed", engine] if engine in COMPILED_FOR_ONE_SIZE else [engine]
    return [part for side in sides for part in ("--ours", side)]


def run(record: Path, command: list[str]) -> None:
    """Run a step whose record is not there yet."""
    record = record.resolve()
    if record.is_file():
        print(f"{record.name} is there already")
        return
    print(f"{record.name} …", flush=True)
    where = [str(record)] if "benchmarks.quality" in command else ["--json", str(record)]
    subprocess.run([*command, *where], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
