"""``sdopt verify``: is a bundle whole, and does it compute the right thing on this machine?"""

from __future__ import annotations

import sys

import click

from sdopt.bundle.bundle import Bundle
from sdopt.cli.engine_options import choosing_engine
from sdopt.cli.progress import progress_bar
from sdopt.engines.options import EngineOptions


@click.command("verify")
@click.argument("bundle")
@choosing_engine
def command(bundle: str, engine: str, engine_options: EngineOptions) -> None:
    """Hash every file of BUNDLE, and compare its components with torch's recorded outputs."""
    from sdopt.verification import check_components

    opened = Bundle.open(bundle)
    with progress_bar("Hashing files") as report:
        total = len(opened.manifest.files)
        for done, name in enumerate(opened.verify_hashes(), start=1):
            report(f"Hashing {name}", done / total)
    click.echo(f"{total} files are as exported.")
    checks = []
    with progress_bar("Running components") as report:
        for check in check_components(opened, engine, engine_options):
            checks.append(check)
            report(f"Ran {check.component}", len(checks) / len(opened.manifest.components))
    for check in checks:
        click.echo(
            f"{'ok    ' if check.passed else 'FAILED'} {check.component:<13} {check.precision}, "
            f"relative L2 {check.relative_l2:.1e} (at most {check.tolerance:.0e}), "
            f"largest error {check.max_error:.1e} (at most {check.max_error_tolerance:.0e})"
        )
    if not all(check.passed for check in checks):
        click.echo("This engine does not compute what torch computed at export.", err=True)
        sys.exit(1)
