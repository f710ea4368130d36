"""``sdopt``: the entry point, which loads a command only when it is called."""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module
from typing import Any, NoReturn

import click

from sdopt import __version__
from sdopt.errors import RequestError, SdoptError

_COMMANDS = (
    "export",
    "import",
    "build",
    "generate",
    "encode",
    "decode",
    "explain",
    "info",
    "verify",
    "lint",
    "schedulers",
    "plan",
    "demo",
    "engines",
    "serve",
    "bench",
)
_MODULES = {"import": "import_onnx"}
"""Where a command's name is a word of Python's."""


class _LazyGroup(click.Group):
    """Finds each command in the module of its name, so that ``--help`` imports next to nothing."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = _MODULES.get(cmd_name, cmd_name)
        command: click.Command = import_module(f"sdopt.cli.{module}").command
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sdopt")
@click.option("--debug", is_flag=True, help="Show a traceback when something goes wrong.")
def cli(debug: bool) -> None:
    """Export Stable Diffusion to ONNX and make pictures with low latency, without torch."""


def main() -> None:
    """Run the command line: exit 0 when all went well, 2 for wrong usage, 1 for anything else."""
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("Stopped.", 130)
    except SdoptError as error:
        if _debugging():
            raise
        _fail(str(error), 2 if isinstance(error, RequestError) else 1)


def _debugging() -> bool:
    return "--debug" in sys.argv or bool(os.environ.get("SDOPT_DEBUG"))


def _show_warning(message: Warning | str, *_: Any) -> None:
    click.secho(f"Warning: {message}", fg="yellow", err=True)


def _fail(message: str, code: int) -> NoReturn:
    click.secho(f"Error: {message}", fg="red", err=True)
    sys.exit(code)
