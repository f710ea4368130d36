"""The root of the tree, and the parts of its messages."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, ClassVar


class SdoptError(Exception):
    """Base of every error that sdopt raises on purpose.

    Attributes:
        http_status: The status with which a server answers a request that caused this error.
    """

    http_status: ClassVar[int] = 500

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes with message and fields; Exception would call the class anew."""
        return _restored, (type(self), self.args, vars(self))


def _restored(kind: type[SdoptError], args: tuple[object, ...], fields: dict[str, Any]) -> object:
    error = kind.__new__(kind, *args)
    vars(error).update(fields)
    return error


class MissingDependencyError(SdoptError, ImportError):
    """A package that an optional part needs is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(
            f"{package} is not installed. Install it with: pip install 'sdopt[{extra}]'"
        )


def unknown_name(kind: str, name: str, choices: Sequence[str]) -> str:
    """Say that a name is unknown, which one was probably meant, and which there are."""
    near = difflib.get_close_matches(name, choices, n=1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown {kind} {name!r}.{meant} Choices: {', '.join(choices)}."


def sentences(*parts: str) -> str:
    """Join the parts of a message that are not empty, each ended as a sentence."""
    return " ".join(
        part if part.endswith((".", "?", "!")) else f"{part}." for part in parts if part
    )


def some(names: Sequence[str], limit: int = 5) -> str:
    """List the first names, and how many more there are."""
    if not names:
        return "none"
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
