"""``sdopt bench BUNDLE``: where the time of a picture goes, and how sure that is."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sdopt.cli.engine_options import choosing_engine
from sdopt.cli.fixed_size_option import fixed_size_option
from sdopt.engines.options import EngineOptions
from sdopt.engines.size_bucket import SizeBucket

if TYPE_CHECKING:
    from sdopt.bench.work import Case


@click.command("bundle")
@click.argument("bundle", required=False)
@click.option(
    "--random",
    "random_name",
    metavar="NAME",
    help="In place of BUNDLE: sd15, sd21 or sdxl at its true size with random weights, made once "
    "and kept. Needs the extra export.",
)
@choosing_engine
@fixed_size_option
@click.option(
    "--size", metavar="WxH,…", help="In pixels, such as 512x512,768x768.  [default: the bundle's]"
)
@click.option("--steps", metavar="N,…", help="Inference steps.  [default: the bundle's]")
@click.option(
    "--batch", default="1", show_default=True, metavar="N,…", help="Pictures denoised together."
)
@click.option("--guidance", type=float, metavar="SCALE", help="[default: the bundle's]")
@click.option("--scheduler", metavar="NAME", help="[default: the bundle's]")
@click.option(
    "--runs",
    default=5,
    show_default=True,
    type=click.IntRange(1),
    help="Measured requests of each case in each process.",
)
@click.option(
    "--warmups",
    default=2,
    show_default=True,
    type=click.IntRange(1),
    help="Requests before them.",
)
@click.option(
    "--processes",
    default=5,
    show_default=True,
    type=click.IntRange(1),
    help="Started one after the other, each from nothing. From 3 on they tell how far another "
    "measurement may be off.",
)
@click.option(
    "--profile",
    is_flag=True,
    help="Measure what the machine allows, and tell the most expensive nodes.",
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write a record."
)
@click.option(
    "--html", "html_file", type=click.Path(path_type=Path), metavar="FILE", help="Write a page."
)
def command(
    *,
    bundle: str | None,
    random_name: str | None,
    engine: str,
    engine_options: EngineOptions,
    fixed_size: SizeBucket | None,
    runs: int,
    warmups: int,
    processes: int,
    profile: bool,
    json_file: Path | None,
    html_file: Path | None,
    **what: str | float | None,
) -> None:
    """Measure how BUNDLE, a folder or a carried model such as "shapes", makes pictures.

    Every combination of the sizes, steps and batches is measured: from the prompt to a PNG file
    in memory, stage by stage.
    """
    from sdopt.bench.kinds import Found
    from sdopt.bench.record import write_record
    from sdopt.bench.report.page import page
    from sdopt.bench.report.sections import sections
    from sdopt.bench.report.write import TITLE
    from sdopt.bench.run import Plan, measure
    from sdopt.bench.text import bench_text
    from sdopt.bench.work import Amount
    from sdopt.cli.progress import progress_bar

    bundle = _bundle(bundle, random_name)
    plan = Plan(
        bundle=bundle,
        engine=engine,
        options=replace(engine_options, fixed_size=fixed_size),
        cases=_cases(bundle, what, fixed_size),
        amount=Amount(processes=processes, warmups=warmups, runs=runs),
        command=["sdopt", *sys.argv[1:]],
        profile=profile,
    )
    with progress_bar("Starting") as report:
        record = measure(plan, report)
    click.echo(bench_text(record))
    if json_file is not None:
        write_record(record, json_file)
    if html_file is not None:
        html_file.parent.mkdir(parents=True, exist_ok=True)
        found = [Found(json_file or Path("(not kept)"), record)]
        html_file.write_text(page(TITLE, sections(found)), encoding="utf-8")


def _bundle(bundle: str | None, random_name: str | None) -> str:
    """Return what to measure: a bundle as it was named, or one with random weights."""
    if (bundle is None) == (random_name is None):
        raise click.UsageError("Name one thing to measure: BUNDLE or --random NAME.")
    if random_name is None:
        return str(bundle)
    from sdopt.bench.random_bundle import random_model
    from sdopt.cli.progress import progress_bar

    with progress_bar(f"Making {random_name} with random weights, if it is not kept"):
        return str(random_model(random_name).bundle)


def _cases(
    bundle: str, what: dict[str, str | float | None], fixed: SizeBucket | None
) -> list[Case]:
    """Return every combination of sizes, steps and batches, with the bundle's own defaults."""
    from sdopt.bench.work import Case, sizes, whole_numbers
    from sdopt.bundle.bundle import Bundle

    defaults = Bundle.open(bundle).manifest.defaults
    usual = fixed or defaults
    pixels = sizes(str(what["size"] or f"{usual.width}x{usual.height}"))
    steps = whole_numbers("steps", str(what["steps"] or defaults.num_inference_steps))
    batches = whole_numbers("batch", str(what["batch"]))
    guidance = what["guidance"]
    return [
        Case(
            height=height,
            width=width,
            batch=batch,
            num_inference_steps=num_inference_steps,
            guidance_scale=float(defaults.guidance_scale if guidance is None else guidance),
            scheduler=None if what["scheduler"] is None else str(what["scheduler"]),
        )
        for (width, height), num_inference_steps, batch in product(pixels, steps, batches)
    ]
