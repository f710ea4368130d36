"""Measure a bundle on an engine: several processes, several cases, several runs."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Literal, NamedTuple

from sdopt.bench.bench_record import BenchRecord, CaseSamples, Memory, Sample, Start, Subject
from sdopt.bench.environment import Environment, device_bytes, environment
from sdopt.bench.record import now, rounded
from sdopt.bench.roofline import profile
from sdopt.bench.sides import RunningSide, Side, running, sdopt_side
from sdopt.bench.work import PROMPT, Amount, Case
from sdopt.bundle.bundle import Bundle
from sdopt.bundle.manifest import FILE_NAME
from sdopt.engines.catalog import choose, stored_key
from sdopt.engines.options import EngineOptions, Model
from sdopt.engines.size_bucket import SizeBucket

LEFT_OUT = (
    "what an operator does once: loading, and the warm-up requests of each case",
    "reading a prompt from anywhere, and writing the PNG file to a disk or a network",
    "the negative prompt's encoding, which is empty and kept after the first request",
    "a queue, HTTP and other requests: `sdopt bench serve` measures those",
)
Report = Callable[[str, float], None]
"""Is told what is going on, and how much is done, from 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be measured.

    Attributes:
        bundle: A path, or the name of a carried model.
        engine: A name in the catalog, or ``"auto"``.
        options: How components are loaded.
        cases: One or more.
        amount: How often.
        command: The command line, for the record.
        profile: Whether to measure the machine's limits too, and profile each component.
        prompt: Of every request; each adds a number to it, so that no encoding is kept.
    """

    bundle: str
    engine: str
    options: EngineOptions
    cases: Sequence[Case]
    amount: Amount
    command: Sequence[str]
    profile: bool = False
    prompt: str = PROMPT


class _Process(NamedTuple):
    """What one process gave."""

    start: Start
    memory: Memory
    samples: list[list[Sample]]
    versions: Mapping[str, str]
    precisions: Mapping[str, str]
    unet_clock: Literal["host", "device"]


def measure(plan: Plan, report: Report = lambda _, __: None) -> BenchRecord:
    """Measure, one process after the other.

    Args:
        plan: What.
        report: Is told about the progress.

    Raises:
        BundleError: There is no such bundle, or it cannot be trusted.
        UnknownNameError: There is no such engine or device.
        MeasuringError: A process failed; the message says of what.
    """
    bundle = Bundle.open(plan.bundle)
    engine = choose(plan.engine, plan.options.device).engine
    here, made_at = environment(), now()
    side = _side(plan, engine)
    report("Starting once, to build and read what is kept", 0.0)
    first = _process(side, plan, Amount(processes=1, warmups=1, runs=0), lambda: None)
    told = _teller(plan, report)
    processes = [_process(side, plan, plan.amount, told) for _ in range(plan.amount.processes)]
    record = _record(plan, _Found(bundle, engine, here, made_at), first, processes)
    if not plan.profile:
        return record
    report("Measuring the machine, and profiling", 1.0)
    looked_at = profile.Subject(
        bundle=bundle, engine=engine, options=plan.options, precisions=first.precisions
    )
    found = profile.rooflines(looked_at, plan.cases)
    return replace(record, rooflines=found)


class _Found(NamedTuple):
    """What was found before anything was measured."""

    bundle: Bundle
    engine: str
    environment: Environment
    made_at: str


def _side(plan: Plan, engine: str) -> Side:
    return sdopt_side(
        plan.bundle,
        engine=engine,
        device=plan.options.device,
        precision=plan.options.precision,
        threads=plan.options.threads,
        max_rows=max(case.batch for case in plan.cases),
        fixed_size=_text(plan.options.fixed_size),
    )


def _teller(plan: Plan, report: Report) -> Callable[[], None]:
    requests = len(plan.cases) * (plan.amount.warmups + plan.amount.runs)
    total, done, begin = requests * plan.amount.processes, count(1), time.monotonic()

    def tell() -> None:
        made = next(done)
        left_s = (time.monotonic() - begin) * (total - made) / made
        left = f"{left_s:.0f} s" if left_s < 90 else f"{left_s / 60:.0f} min"
        report(f"Request {made} of {total}, about {left} left", made / total)

    return tell


def _process(side: Side, plan: Plan, amount: Amount, told: Callable[[], None]) -> _Process:
    prompts = (f"{plan.prompt} {number}" for number in count(1))
    pictures: list[list[dict[str, Any]]] = []
    with running(side) as process:
        for case in plan.cases:
            pictures.append([])
            for _ in range(amount.warmups + amount.runs):
                pictures[-1].append(process.picture(ask_of(case, next(prompts))))
                told()
        first, last = pictures[0][0], pictures[-1][-1]
        memory = Memory(
            host_bytes=last["peak_host_bytes"], device_bytes=device_bytes(process.process_id)
        )
    return _Process(
        start=_start(process, first["wall_s"]),
        memory=memory,
        samples=[[_sample(picture) for picture in made[amount.warmups :]] for made in pictures],
        versions=process.start["versions"],
        precisions=first["precisions"],
        unet_clock=first["unet_clock"],
    )


def ask_of(case: Case, prompt: str, seed: int = 0) -> dict[str, Any]:
    """Return a request of a case, as processes take it."""
    return {
        "prompt": prompt,
        "options": {
            "height": case.height,
            "width": case.width,
            "num_images_per_prompt": case.batch,
            "num_inference_steps": case.num_inference_steps,
            "guidance_scale": case.guidance_scale,
            "scheduler": case.scheduler,
            "seed": seed,
        },
    }


def _sample(figures: Mapping[str, Any]) -> Sample:
    kept = rounded(figures)
    return Sample(
        wall_s=kept["wall_s"],
        stages_s=kept["stages_s"],
        unet_calls_s=tuple(kept["unet_calls_s"]),
    )


def _start(process: RunningSide, first_picture_s: float) -> Start:
    names = ("interpreter_s", "import_s", "load_s")
    parts = {name: process.start[name] for name in names}
    return Start(**rounded(parts | {"first_picture_s": first_picture_s}))


def _record(
    plan: Plan, found: _Found, first: _Process, processes: Sequence[_Process]
) -> BenchRecord:
    return BenchRecord(
        kind="bench",
        format_version=1,
        made_at=found.made_at,
        command=tuple(plan.command),
        environment=found.environment.of(first.versions),
        subject=_subject(plan, found, first),
        amount=plan.amount,
        first_start=first.start,
        starts=tuple(process.start for process in processes),
        memory=tuple(process.memory for process in processes),
        cases=tuple(
            CaseSamples(case=case, processes=tuple(tuple(p.samples[i]) for p in processes))
            for i, case in enumerate(plan.cases)
        ),
        left_out=LEFT_OUT,
    )


def _subject(plan: Plan, found: _Found, first: _Process) -> Subject:
    bundle, fixed = found.bundle, plan.options.fixed_size
    manifest = bundle.path / FILE_NAME
    keys = {
        name: stored_key(found.engine, Model.of(bundle, name, fixed), plan.options)
        for name in first.precisions
    }
    return Subject(
        bundle=bundle.path.name,
        bundle_sha256=hashlib.sha256(manifest.read_bytes()).hexdigest() if bundle.sealed else "",
        family=bundle.manifest.family,
        engine=found.engine,
        device=plan.options.device,
        precisions=dict(first.precisions),
        stored_engines={name: None if key is None else key.name for name, key in keys.items()},
        unet_clock=first.unet_clock,
        fixed_size=_text(fixed),
    )


def _text(size: SizeBucket | None) -> str | None:
    return None if size is None else str(size)
