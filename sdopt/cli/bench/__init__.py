"""``sdopt bench``: measure a bundle, a running server, or sdopt beside its peers."""

from __future__ import annotations

from importlib import import_module

import click

_COMMANDS = ("bundle", "compare", "report", "serve")


class _BundleFirst(click.Group):
    """Takes what is no command for the bundle to measure: ``sdopt bench shapes``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*_COMMANDS, "-h", "--help"):
            args = ["bundle", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, _: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"sdopt.cli.bench.{cmd_name}").command
        return command


@click.group("bench", cls=_BundleFirst)
def command() -> None:
    """Measure a bundle: `sdopt bench BUNDLE` is short for `sdopt bench bundle BUNDLE`.

    A folder that is called like a command is given as a path: ./serve
    """
