"""``sdopt lint``: will TensorRT take these graphs, and fuse what it can fuse?"""

from __future__ import annotations

import sys

import click

from sdopt.bundle.bundle import Bundle
from sdopt.errors import MissingDependencyError


@click.command("lint")
@click.argument("bundle")
def command(bundle: str) -> None:
    """Check the graphs of BUNDLE against what TensorRT's parser takes; exit 1 if it would not.

    Needs no GPU and no TensorRT. Weights are not read.
    """
    opened = Bundle.open(bundle)
    try:
        from sdopt.export.lint import lint_bundle
    except ImportError as error:
        raise MissingDependencyError("onnx", "export") from error
    found = 0
    for name, findings in lint_bundle(opened):
        click.echo(f"{name:<13} {f'{len(findings)} finding(s)' if findings else 'ok'}")
        for finding in findings:
            click.echo(f"  {finding}")
        found += len(findings)
    if found:
        sys.exit(1)
