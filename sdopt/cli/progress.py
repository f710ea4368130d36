"""The progress bar that commands share. It goes to stderr, and only to a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Report(Protocol):
    """Tells how far something is."""

    def __call__(self, stage: str, fraction: float) -> None:
        """Show the name of what is being done, and which share of all is done, 0 to 1."""


@contextmanager
def progress_bar(first_stage: str) -> Iterator[Report]:
    """Show a bar while the block runs, and remove it afterwards.

    Yields:
        What the block calls to move the bar.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(first_stage, total=1.0)

        def report(stage: str, fraction: float) -> None:
            progress.update(task, description=stage, completed=fraction)

        yield report
