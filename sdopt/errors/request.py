"""What was asked for cannot be done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sdopt.errors.base import SdoptError, sentences, unknown_name


class RequestError(SdoptError, ValueError):
    """A request that cannot be carried out as it stands."""

    http_status = 400


class InvalidValueError(RequestError):
    """A field of a request has a value outside what is allowed."""

    def __init__(self, name: str, value: object, allowed: str, hint: str = "") -> None:
        self.name, self.value, self.allowed, self.hint = name, value, allowed, hint
        super().__init__(
            sentences(f"{name}={value!r} is not allowed", f"{name} is {allowed}", hint)
        )


class InvalidSizeError(RequestError):
    """A height or width that the VAE's factor does not divide."""

    def __init__(self, name: str, value: int, multiple: int, smallest: int) -> None:
        self.name, self.value, self.multiple, self.smallest = name, value, multiple, smallest
        below = max(value // multiple * multiple, smallest)
        super().__init__(
            f"{name}={value} is smaller than {smallest}, the smallest {name}."
            if value < smallest
            else f"{name}={value} is not a multiple of {multiple}. "
            f"The nearest {name}s are {below} and {below + multiple}."
        )


class UnknownNameError(RequestError):
    """A name that is not in the table of its kind, with the nearest one that is."""

    def __init__(self, kind: str, name: str, choices: Sequence[str]) -> None:
        self.kind, self.name, self.choices = kind, name, tuple(choices)
        super().__init__(unknown_name(kind, name, choices))


class UnknownSchedulerError(UnknownNameError):
    """A scheduler name that no row of the scheduler table has."""

    def __init__(self, name: str, choices: Sequence[str]) -> None:
        super().__init__("scheduler", name, choices)


class UnsupportedSchedulerConfigError(RequestError):
    """A key of scheduler_config.json that is known, with a value that is refused."""

    def __init__(self, key: str, value: object, allowed: str, hint: str = "") -> None:
        self.key, self.value, self.allowed, self.hint = key, value, allowed, hint
        super().__init__(
            sentences(
                f"Scheduler setting {key}={value!r} is not supported", f"It is {allowed}", hint
            )
        )


class ConceptFileError(RequestError):
    """A file that holds no textual inversion that can be used."""

    def __init__(self, path: Path, problem: str, hint: str = "") -> None:
        self.path, self.problem, self.hint = path, problem, hint
        super().__init__(sentences(f"Textual inversion {path}: {problem}", hint))


class ShapeOutOfProfileError(RequestError):
    """A shape that is valid in itself, but outside what the engine was built for."""

    def __init__(self, name: str, value: object, profile: str, hint: str) -> None:
        self.name, self.value, self.profile, self.hint = name, value, profile, hint
        super().__init__(
            sentences(
                f"{name}={value!r} is outside the engine's profile",
                f"It was built for {profile}",
                hint,
            )
        )
