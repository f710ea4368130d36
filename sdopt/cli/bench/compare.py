"""``sdopt bench compare``: sdopt beside its peers, in turn, on the same work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sdopt.bench.compare import Entry
    from sdopt.bench.peers.catalog import Peer
    from sdopt.bench.work import Case
    from sdopt.cli.progress import Report


@click.command("compare")
@click.argument("bundle")
@click.argument("checkpoint", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--ours",
    multiple=True,
    default=("onnxruntime",),
    show_default=True,
    metavar="ENGINE[:PRECISION][:fixed]",
    help="What runs BUNDLE, compiled for the one size if it is fixed; can be given repeatedly. "
    "All others take turns with the first.",
)
@click.option(
    "--peers",
    default="diffusers-fp32",
    show_default=True,
    metavar="NAME,…",
    help="Peers with commas between, all, or none. See --list.",
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    type=click.Choice(["cpu", "cuda"]),
    help="Where all sides compute.",
)
@click.option("--list", "list_peers", is_flag=True, help="Tell the peers, and end.")
@click.option("--size", metavar="WxH", help="In pixels.  [default: the bundle's]")
@click.option("--steps", type=click.IntRange(1), metavar="N", help="[default: the bundle's]")
@click.option("--batch", default=1, show_default=True, type=click.IntRange(1), metavar="N")
@click.option("--guidance", type=float, metavar="SCALE", help="[default: the bundle's]")
@click.option(
    "--rounds",
    default=8,
    show_default=True,
    type=click.IntRange(1),
    help="In each of which both sides make the same picture.",
)
@click.option(
    "--starts",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="How often each pair of processes is started. From 3 on, how they differ is what the "
    "intervals tell.",
)
@click.option("--warmups", default=2, show_default=True, type=click.IntRange(1))
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write a record."
)
def command(
    *,
    bundle: str,
    checkpoint: Path,
    ours: tuple[str, ...],
    peers: str,
    device: str,
    list_peers: bool,
    rounds: int,
    starts: int,
    warmups: int,
    json_file: Path | None,
    **what: str | float | None,
) -> None:
    """Compare BUNDLE on sdopt with the CHECKPOINT that it was exported from on its peers.

    Each peer runs in a process and an environment of its own, which this command makes in sdopt's
    cache (gigabytes, some minutes), with the checkpoint's own scheduler and the same prompts,
    noise, size, steps and guidance. The ratios come with intervals.
    """
    from sdopt.bench.compare import Contest, compare
    from sdopt.bench.compare_text import compare_text, peers_text
    from sdopt.bench.peers.catalog import peers_named
    from sdopt.bench.record import write_record
    from sdopt.cli.progress import progress_bar

    if list_peers:
        click.echo(peers_text())
        return
    chosen = peers_named(peers, device)
    case = _case(bundle, what)
    with progress_bar("Preparing") as report:
        entries = [
            *_ours(bundle, ours, device, case),
            *_theirs(chosen, checkpoint, device, case, report),
        ]
        if len(entries) < 2:
            raise click.UsageError("One side alone is no comparison: name peers, or more --ours.")
        contest = Contest(
            reference=entries[0],
            others=entries[1:],
            case=case,
            rounds=rounds,
            starts=starts,
            warmups=warmups,
            checkpoint=checkpoint.resolve().name,
            bundle=Path(bundle).name,
            command=["sdopt", *sys.argv[1:]],
        )
        record = compare(contest, report)
    click.echo(compare_text(record))
    if json_file is not None:
        write_record(record, json_file)


def _case(bundle: str, what: dict[str, str | float | None]) -> Case:
    from sdopt.bench.work import Case, sizes
    from sdopt.bundle.bundle import Bundle

    defaults = Bundle.open(bundle).manifest.defaults
    (width, height), *_ = sizes(str(what["size"] or f"{defaults.width}x{defaults.height}"))
    guidance = what["guidance"]
    return Case(
        height=height,
        width=width,
        batch=int(what["batch"] or 1),
        num_inference_steps=int(what["steps"] or defaults.num_inference_steps),
        guidance_scale=float(defaults.guidance_scale if guidance is None else guidance),
    )


def _ours(bundle: str, names: tuple[str, ...], device: str, case: Case) -> list[Entry]:
    from sdopt.bench.compare import Entry
    from sdopt.bench.sides import sdopt_side

    sides = []
    for name in names:
        rest, fixed = name.removesuffix(":fixed"), name.endswith(":fixed")
        engine, _, precision = rest.partition(":")
        side = sdopt_side(
            bundle,
            engine=engine,
            device=device,
            precision=precision or None,
            max_rows=case.batch,
            fixed_size=f"{case.width}x{case.height}" if fixed else None,
        )
        sides.append(Entry(side=side))
    return sides


def _theirs(
    peers: list[Peer], checkpoint: Path, device: str, case: Case, report: Report
) -> list[Entry]:
    from sdopt.bench.compare import Entry
    from sdopt.bench.peers.environments import peer_side

    entries = []
    for peer in peers:
        report(f"Preparing {peer.name}", 0.0)
        entries.append(Entry(side=peer_side(peer, checkpoint, case, device), source=peer.source))
    return entries
