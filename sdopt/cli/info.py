"""``sdopt info``: what a bundle holds."""

from __future__ import annotations

import json

import click

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.manifest import Component
from sdopt.bundle.strict import plain
from sdopt.cli.engine_options import choosing_engine
from sdopt.engines.options import EngineOptions, components


@click.command("info")
@click.argument("bundle")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as it is.")
@choosing_engine
def command(bundle: str, as_json: bool, engine: str, engine_options: EngineOptions) -> None:
    """Say what BUNDLE holds, and how much memory it takes on an engine."""
    from rich.console import Console
    from rich.markup import escape

    opened = Bundle.open(bundle)
    if as_json:
        click.echo(json.dumps(plain(opened.manifest), indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False, soft_wrap=True)
    for name, value in (_facts(opened) | _memory(opened, engine, engine_options)).items():
        console.print(f"[bold]{name:<12}[/bold] {value}")
    console.print(_components(opened))
    for name, component in opened.manifest.components.items():
        tensors = f"{', '.join(map(str, component.inputs))} -> {component.outputs[0]}"
        console.print(f"[bold]{name:<12}[/bold] {escape(tensors)}")
    for island, (reason, names) in _islands(opened).items():
        console.print(f"[bold]fp32[/bold] {island} in {', '.join(names)}: {escape(reason)}.")
    for note in opened.manifest.notes:
        console.print(f"[yellow]Note:[/yellow] {note}")


def _facts(bundle: Bundle) -> dict[str, str]:
    manifest, defaults = bundle.manifest, bundle.manifest.defaults
    total = sum(record.size_bytes for record in manifest.files.values())
    return {
        "Bundle": str(bundle.path),
        "Family": f"{bundle.family.title} ({manifest.family}), predicts {manifest.prediction_type}",
        "Defaults": f"{defaults.width}x{defaults.height}, {defaults.num_inference_steps} steps, "
        f"guidance {defaults.guidance_scale:g}",
        "Sizes": f"any multiple of {manifest.vae_scale_factor} from 64",
        "Scheduler": str(manifest.scheduler.get("_class_name", "?")),
        "Files": f"{len(manifest.files)}, {_megabytes(total)} in all",
        "Exported by": f"sdopt {manifest.sdopt_version}" if bundle.sealed else "another tool",
    }


def _memory(bundle: Bundle, engine: str, options: EngineOptions) -> dict[str, str]:
    from sdopt.engines.catalog import choose, footprint
    from sdopt.engines.memory import available_bytes, estimate

    name = choose(engine, options.device, components(bundle), options.store).engine
    if (taken := footprint(name, options)) is None:
        return {"Memory": f"not measured for {name} on {options.device}"}
    needed = estimate(bundle, taken)
    return {
        "Memory": f"about {needed.needed_bytes / 1e9:.1f} GB on {name} "
        f"(weights {needed.weights_bytes / 1e9:.1f}), {available_bytes() / 1e9:.1f} GB available"
    }


def _components(bundle: Bundle) -> object:
    from rich.table import Table

    table = Table("Component", "Size", "Precision", "Opset", "Relative L2 to reference")
    for name, component in bundle.manifest.components.items():
        table.add_row(
            name,
            _megabytes(bundle.component_bytes(name)),
            component.precision,
            str(component.opset),
            _parity(component),
        )
    return table


def _islands(bundle: Bundle) -> dict[str, tuple[str, list[str]]]:
    """Return why each island is there, and in which components with how many nodes."""
    found: dict[str, tuple[str, list[str]]] = {}
    for name, component in bundle.manifest.components.items():
        for island in component.islands:
            _, components = found.setdefault(island.name, (island.reason, []))
            components.append(f"{name} ({island.nodes} nodes)")
    return found


def _parity(component: Component) -> str:
    if component.parity is None:
        return "not known"
    return f"{component.parity.relative_l2:.1e} of {component.parity.tolerance:.0e}"


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"
