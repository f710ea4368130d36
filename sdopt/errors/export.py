"""A checkpoint could not become a bundle."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sdopt.errors.base import SdoptError, sentences, some


class ExportError(SdoptError):
    """A checkpoint could not become a bundle."""


class CheckpointError(ExportError):
    """A checkpoint that is not there, cannot be read, or is of a family that is not known."""

    def __init__(self, path: Path, problem: str, hint: str) -> None:
        self.path, self.problem, self.hint = path, problem, hint
        super().__init__(sentences(f"Checkpoint {path}: {problem}", hint))


class HubError(ExportError):
    """A model on the Hugging Face hub that is not there, not open, or cannot be downloaded."""

    def __init__(self, model: str, problem: str, hint: str) -> None:
        self.model, self.problem, self.hint = model, problem, hint
        super().__init__(sentences(f"Hub model {model}: {problem}", hint))


class WeightsMismatchError(ExportError):
    """A checkpoint whose weights are not exactly those of its architecture."""

    def __init__(self, component: str, missing: Iterable[str], unexpected: Iterable[str]) -> None:
        self.component = component
        self.missing, self.unexpected = tuple(sorted(missing)), tuple(sorted(unexpected))
        super().__init__(
            sentences(
                f"The weights of {component} do not fit its config.json",
                f"Missing: {some(self.missing)}",
                f"Unexpected: {some(self.unexpected)}",
                "Nothing is filled in at random: get the complete checkpoint, "
                "or the config.json that belongs to it",
            )
        )


class ParityError(ExportError):
    """An exported graph that does not compute what torch computes."""

    def __init__(self, component: str, measure: str, value: float, tolerance: float) -> None:
        self.component, self.measure, self.value, self.tolerance = (
            component,
            measure,
            value,
            tolerance,
        )
        super().__init__(
            f"{component}: {measure} against torch is {value:.3g}, "
            f"and at most {tolerance:.3g} is allowed. The bundle was not written."
        )
