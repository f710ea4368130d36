"""``sdopt import``: another tool's ONNX folder in, a bundle out."""

from __future__ import annotations

from pathlib import Path

import click

from sdopt.cli.progress import progress_bar


@click.command("import")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def command(folder: Path, out: Path) -> None:
    """Import FOLDER, as Optimum or diffusers wrote it with ONNX graphs, to the new bundle OUT.

    Needs no torch. The UNet gets a timestep for each row and is compared with the original.
    """
    from sdopt.importing import import_onnx

    with progress_bar("Reading the folder") as report:
        manifest = import_onnx(folder, out, progress=report)
    for name, component in manifest.components.items():
        parity = component.parity
        assert parity is not None
        click.echo(
            f"{name:<14} {component.precision}, relative L2 to the original "
            f"{parity.relative_l2:.1e} (at most {parity.tolerance:.0e})"
        )
    for note in manifest.notes:
        click.secho(f"Note: {note}", fg="yellow", err=True)
    total = sum(record.size_bytes for record in manifest.files.values())
    click.echo(f"{out} holds {len(manifest.files)} files, {total / 1e6:,.1f} MB.")
