"""Records of measurements: JSON files that are read as strictly as a bundle's manifest.

A record holds the samples. The figures beside them are for people and other tools: they are
computed from the samples, and a record whose figures are not what its samples say is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sdopt.bundle import strict
from sdopt.errors import ManifestError, RecordError

FORMAT_VERSION = 1
_DIGITS = 7
"""After the decimal point: tenths of microseconds, finer than any clock here."""


class Record(Protocol):
    """What is common to records of every kind; each is a frozen dataclass.

    Attributes:
        kind: Such as ``"bench"``.
        format_version: Of the file.
    """

    @property
    def kind(self) -> str:
        """Which kind it is."""
        ...

    def figures(self) -> Mapping[str, Any]:
        """Compute from the samples what people want to know, as JSON data."""
        ...


R = TypeVar("R", bound=Record)


def write_record(record: Record, path: Path) -> None:
    """Write a record, and make its folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(record_text(record), encoding="utf-8")


def record_text(record: Record) -> str:
    """Return the text of a record's file."""
    data = rounded(strict.plain(record))
    return json.dumps({**data, "figures": rounded(record.figures())}, indent=1) + "\n"


def read_record(kind: type[R], path: Path) -> R:
    """Read a record of one kind.

    Args:
        kind: A frozen dataclass that is a :class:`Record`.
        path: Its file.

    Raises:
        RecordError: It is none, or of another version, or says what no record may say, or its
            figures are not what its samples say.
    """
    data = _object(path)
    figures = data.pop("figures", None)
    version = data.get("format_version")
    if version != FORMAT_VERSION:
        problem = f"{version!r} is not {FORMAT_VERSION}, the version that this sdopt reads"
        raise RecordError(path, "format_version", problem)
    try:
        record = strict.read(kind, data, "record")
    except ManifestError as error:
        raise RecordError(path, error.where, error.problem) from error
    if figures != json.loads(json.dumps(rounded(record.figures()))):
        raise RecordError(path, "figures", "they are not what the samples say")
    return record


def kind_of(path: Path) -> str | None:
    """Return which kind of record a file holds; None for what other scripts wrote.

    Raises:
        RecordError: It is no JSON object.
    """
    kind = _object(path).get("kind")
    return kind if isinstance(kind, str) else None


def now() -> str:
    """Return the date and time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rounded(value: Any) -> Any:
    """Round every number of JSON data to what records keep."""
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, (list, tuple)) else value


def _object(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(path, "the whole file", f"this is no readable JSON ({error})") from error
    if not isinstance(data, dict):
        raise RecordError(path, "the whole file", "an object is expected")
    return data
