"""Something could not be measured, or a record of it cannot be read."""

from __future__ import annotations

from pathlib import Path

from sdopt.errors.base import SdoptError, sentences


class BenchError(SdoptError):
    """Something could not be measured, or a record of it cannot be read."""


class RecordError(BenchError):
    """A file that is no record of a measurement, or says something that none may say."""

    def __init__(self, path: Path, where: str, problem: str) -> None:
        self.path, self.where, self.problem = path, where, problem
        super().__init__(
            sentences(
                f"{path}, {where}: {problem}",
                "Records are what `sdopt bench --json FILE` and its sisters write: measure again",
            )
        )


class MeasuringError(BenchError):
    """A process that was to be measured ended without its figures."""

    def __init__(self, side: str, detail: str) -> None:
        self.side, self.detail = side, detail
        super().__init__(sentences(f"{side} could not be measured", detail))


class PeerError(BenchError):
    """What a peer needs could not be made: its environment, or the model in its form."""

    def __init__(self, library: str, command: str, detail: str) -> None:
        self.library, self.command, self.detail = library, command, detail
        super().__init__(
            sentences(
                f"What {library} needs could not be made",
                f"This failed: {command}",
                detail,
                "Leave its peers out with --peers, or make it by hand",
            )
        )


class RandomModelError(BenchError):
    """A model with random weights could not be made."""

    def __init__(self, name: str, detail: str, disk_gb: int) -> None:
        self.name, self.detail, self.disk_gb = name, detail, disk_gb
        super().__init__(
            sentences(
                f"{name} with random weights could not be made",
                detail,
                f"It takes about {disk_gb} GB of disk in sdopt's cache: set SDOPT_CACHE to a "
                "folder with more room, if that is what is missing",
            )
        )
