"""``sdopt build``: engines for this machine, ahead of time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sdopt.cli.progress import progress_bar


@click.command("build")
@click.argument("bundle")
@click.option(
    "--engine", default="tensorrt", show_default=True, metavar="NAME", help="What to build for."
)
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    metavar="WIDTHxHEIGHT[:N|:MIN-MAX]",
    help="A size, and how many pictures at a time, such as 512x512:1-4; may be given several "
    "times.  [default: the bundle's own size, one picture]",
)
@click.option(
    "--workspace", metavar="SIZE", help="The builder's limit, such as 8GiB.  [default: none]"
)
@click.option(
    "--optimization-level",
    type=click.IntRange(0, 5),
    default=3,
    show_default=True,
    help="How long to look for faster kernels.",
)
@click.option("--refit", is_flag=True, help="Let weights be exchanged later.")
@click.option(
    "--strip", is_flag=True, help="Leave the weights in the bundle, and load them from it."
)
@click.option("--version-compatible", is_flag=True, help="Let later versions of TensorRT run it.")
@click.option(
    "--weight-streaming",
    is_flag=True,
    help="Let weights stay in main memory.",
)
@click.option(
    "--timing-cache",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Measured times of kernels.  [default: a file per GPU and version in the cache]",
)
@click.option(
    "--component",
    "components",
    multiple=True,
    metavar="NAME",
    help="Only this one.  [default: all]",
)
@click.option("--no-self-test", is_flag=True, help="Do not compare with torch's recorded outputs.")
def command(
    *,
    bundle: str,
    engine: str,
    profiles: tuple[str, ...],
    workspace: str | None,
    components: tuple[str, ...],
    no_self_test: bool,
    **options: Any,
) -> None:
    """Build the engines of BUNDLE on this machine, for this machine.

    A build takes minutes for each component. What was built before is not built again.
    """
    from sdopt.building import build
    from sdopt.engines.build_options import BuildOptions, parse_bytes
    from sdopt.engines.size_bucket import SizeBucket

    wanted = BuildOptions(
        profiles=tuple(map(SizeBucket.parse, profiles)),
        workspace_bytes=None if workspace is None else parse_bytes(workspace),
        self_test=not no_self_test,
        **options,
    )
    with progress_bar("Reading the bundle") as report:
        built = build(
            bundle, engine=engine, options=wanted, components=components or None, progress=report
        )
    for made in built:
        what = "built" if made.was_built else "was there already"
        click.echo(f"{made.component:<14} {what}, for {made.profiles}")
        for test in made.tests:
            found = "finite" if test.relative_l2 is None else f"relative L2 {test.relative_l2:.1e}"
            click.echo(f"{'':<14} {test.profile}: {found}")
