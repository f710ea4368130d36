"""Write tiny checkpoints of several families, and export them, all in this one process.

    python tests/export/export_families.py OUT FAMILY[-PRECISION]...

OUT/FAMILY/checkpoint and OUT/FAMILY/bundle, or OUT/FAMILY-fp16 for both. Importing torch and
tracing are what an export of a tiny model costs: here torch is imported once, and a component with
the weights and settings of an earlier one is not traced again. The rest is `sdopt.export`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sdopt.export import exporter, worker
from sdopt.export.jobs import Job
from tests.export.graphs import run_graph
from tests.export.tiny_families import build

MADE: dict[str, tuple[Job, list[dict[str, Any]]]] = {}


def exported(job: Job, component: str) -> list[dict[str, Any]]:
    """Export one component, or copy an equal one; return what the worker said."""
    key = f"{component} {job.precision} {_content(job.checkpoint, component)}"
    if key in MADE:
        made, messages = MADE[key]
        shutil.copytree(made.out / component, job.out / component, dirs_exist_ok=True)
        name = f"{component}.safetensors"
        shutil.copyfile(made.scratch / name, job.scratch / name)
        return messages
    said = StringIO()
    one = Job(**{**vars_of(job), "components": (component,)})
    worker.Exporter(one, said).run()
    messages = [json.loads(line) for line in said.getvalue().splitlines()]
    MADE[key] = (_kept(job, component), messages)
    return messages


def vars_of(job: Job) -> dict[str, Any]:
    """Return a job's fields."""
    return {name: getattr(job, name) for name in Job.__slots__}


def _kept(job: Job, component: str) -> Job:
    """Copy a component to where it stays after its bundle is renamed."""
    folder = KEPT / str(len(MADE))
    shutil.copytree(job.out / component, folder / component)
    shutil.copyfile(job.scratch / f"{component}.safetensors", folder / f"{component}.safetensors")
    return Job(**{**vars_of(job), "out": folder, "scratch": folder})


def _content(checkpoint: Path, component: str) -> str:
    """Hash what a component is made from; a UNet's references depend on the text encoders too."""
    folders = ["vae"] if component.startswith("vae") else [component]
    if component == "unet":
        folders += ["text_encoder", "text_encoder_2"]
    files = [file for folder in folders for file in sorted((checkpoint / folder).glob("*"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@contextmanager
def running(jobs: Sequence[Job]) -> Iterator[Iterator[dict[str, Any]]]:
    """Do what workers do, here."""
    yield (m for job in jobs for name in job.components for m in exported(job, name))


if __name__ == "__main__":
    OUT, KEPT = Path(sys.argv[1]), Path(sys.argv[1]) / "kept"
    exporter.running = running  # type: ignore[assignment]
    for name in sys.argv[2:]:
        family, _, precision = name.partition("-")
        build(OUT / name / "checkpoint", family, seed=0)
        options = exporter.ExportOptions(precision=precision or "fp32")  # type: ignore[arg-type]
        checkpoint, bundle = OUT / name / "checkpoint", OUT / name / "bundle"
        exporter.export(checkpoint, bundle, run=run_graph, options=options)
    shutil.rmtree(KEPT)
