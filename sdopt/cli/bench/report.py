"""``sdopt bench report``: records as one page and as pictures."""

from __future__ import annotations

import sys
from pathlib import Path

import click


class _Percent(click.ParamType[float]):
    """A share, given as ``5%``."""

    name = "percent"

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        number = value.removesuffix("%")
        try:
            share = float(number) / 100
        except ValueError:
            share = -1.0
        if not 0 <= share < 10:
            self.fail(f"{value!r} is no percentage, such as 5%.", param, ctx)
        return share


@click.command("report")
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where report.html and the PNG files go.  [default: FOLDER]",
)
@click.option(
    "--against",
    type=click.Path(exists=True, path_type=Path),
    metavar="DIR",
    help="Records of another version, to compare with: a folder or a file.",
)
@click.option(
    "--fail-if-slower",
    type=_Percent(),
    metavar="PERCENT",
    help="With --against: exit with 1 if something is certainly slower by more than that.",
)
def command(
    *, folder: Path, output: Path | None, against: Path | None, fail_if_slower: float | None
) -> None:
    """Make one page, report.html, and PNG plots of the records (JSON files) in FOLDER."""
    from sdopt.bench.bench_record import BenchRecord
    from sdopt.bench.kinds import read_all
    from sdopt.bench.report.write import write_report
    from sdopt.bench.versions import compare_versions

    if fail_if_slower is not None and against is None:
        raise click.UsageError("--fail-if-slower needs --against: slower than what?")
    found = read_all(folder)
    compared = []
    if against is not None:
        sides = [
            [each.record for each in side if isinstance(each.record, BenchRecord)]
            for side in (read_all(against), found)
        ]
        compared = compare_versions(sides[0], sides[1], fail_if_slower or 0.0)
        if not compared:
            raise click.UsageError(f"{against} and {folder} have no case in common.")
    for path in write_report(
        found, output or (folder if folder.is_dir() else folder.parent), compared
    ):
        click.echo(path)
    for each in compared:
        click.echo(str(each))
        for doubt in each.doubts:
            click.secho(f"Warning: {doubt}", fg="yellow", err=True)
    if fail_if_slower is not None and any(each.verdict == "slower" for each in compared):
        sys.exit(1)
