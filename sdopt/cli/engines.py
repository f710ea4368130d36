"""``sdopt engines``: what lies in the store of built engines, why, and how to be rid of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from sdopt.bundle.bundle import Bundle
from sdopt.cli.engine_options import choosing_engine
from sdopt.cli.fixed_size_option import fixed_size_option
from sdopt.engines.catalog import explain
from sdopt.engines.options import EngineOptions, Model
from sdopt.engines.size_bucket import SizeBucket
from sdopt.engines.store import EngineStore

if TYPE_CHECKING:
    from sdopt.engines.store import StoredEngine


@click.group("engines")
def command() -> None:
    """Built engines: list them, remove them, or ask why one would be built again."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the entries as JSON.")
def list_(as_json: bool) -> None:
    """List the built engines, sound or not."""
    store = EngineStore()
    entries = list(store.entries())
    if as_json:
        click.echo(json.dumps([_described(entry) for entry in entries], indent=2))
        return
    for entry in entries:
        click.echo(_line(entry))
    total = sum(entry.size_bytes for entry in entries)
    click.echo(f"{len(entries)} engine(s), {total / 1e6:,.1f} MB, in {store.folder}")


@command.command("clean")
@click.option(
    "--older-than",
    "days",
    type=click.FloatRange(0),
    metavar="DAYS",
    help="Engines built longer ago than this.",
)
@click.option("--all", "everything", is_flag=True, help="Every engine.")
def clean(days: float | None, everything: bool) -> None:
    """Remove engines that cannot be used, and what killed builds have left behind.

    An engine that is being built stays.
    """
    store = EngineStore()
    removed = freed = 0
    for entry in list(store.entries()):
        size = entry.size_bytes
        if (everything or entry.problem or _older(entry, days)) and store.remove(entry):
            removed, freed = removed + 1, freed + size
    partial = store.remove_partial()
    click.echo(
        f"Removed {removed} engine(s), {freed / 1e6:,.1f} MB, and {partial} unfinished build(s)."
    )


@command.command("why")
@click.argument("bundle")
@choosing_engine
@fixed_size_option
def why(
    bundle: str, engine: str, engine_options: EngineOptions, fixed_size: SizeBucket | None
) -> None:
    """Say for each component of BUNDLE whether its engine is stored, and if not, why not."""
    opened = Bundle.open(bundle)
    for name in opened.manifest.components:
        model = Model.of(opened, name, fixed_size)
        click.echo(f"{name:<13} {explain(engine, model, engine_options)}")


def _older(entry: StoredEngine, days: float | None) -> bool:
    if days is None or entry.sidecar is None:
        return False
    built = datetime.fromisoformat(entry.sidecar.built_at)
    return datetime.now(UTC) - built > timedelta(days=days)


def _line(entry: StoredEngine) -> str:
    if entry.sidecar is None:
        return f"{entry.path.name}  unusable: {entry.problem}"
    key = entry.sidecar.key
    facts = (
        f"{key.engine} {key.engine_version}",
        f"{key.device} {key.compute_capability}".rstrip(),
        f"shapes {key.profile}",
        *(f"{name} {value}" for name, value in sorted(key.options.items())),
        f"{entry.size_bytes / 1e6:,.1f} MB",
        f"built {entry.sidecar.built_at} in {entry.sidecar.build_s:.1f} s",
        *([f"unusable: {entry.problem}"] if entry.problem else []),
    )
    return f"{entry.path.name}  {', '.join(facts)}"


def _described(entry: StoredEngine) -> dict[str, object]:
    from sdopt.bundle.strict import plain

    return {
        "path": str(entry.path),
        "size_bytes": entry.size_bytes,
        "problem": entry.problem,
        "sidecar": plain(entry.sidecar),
    }
