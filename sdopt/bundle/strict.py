"""Strict reading of JSON into frozen dataclasses: what is unknown or ill-typed is an error."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from sdopt.errors import ManifestError

T = TypeVar("T")


def read(kind: type[T], data: object, where: str) -> T:
    """Read plain JSON data as an instance of a dataclass.

    Args:
        kind: A dataclass whose annotations use str, int, float, bool, None, Literal, unions,
            ``tuple[X, ...]``, ``Mapping[str, X]``, ``object`` (any JSON) and further dataclasses.
            A field with a default may be missing in the data: it came later than the format.
        data: What ``json.loads`` returned.
        where: The path of ``data`` within the file, for messages.

    Returns:
        A new instance of ``kind``.

    Raises:
        ManifestError: Something is missing, unknown, or of another type than ``kind`` says.
    """
    value: T = _value(kind, data, where)
    return value


def plain(value: object) -> Any:
    """Turn dataclasses, tuples and mappings into what ``json.dumps`` takes, in field order."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}  # pyright: ignore
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]  # pyright: ignore
    return value


def _value(kind: Any, data: Any, where: str) -> Any:  # noqa: PLR0911 - one line per kind
    origin = get_origin(kind)
    if kind is object:
        return data
    if dataclasses.is_dataclass(kind):
        return _instance(kind, data, where)
    if origin in (Union, types.UnionType):
        return _one_of(get_args(kind), data, where)
    if origin is Literal:
        _require(data in get_args(kind), where, f"{data!r} is not one of {list(get_args(kind))}")
        return data
    if origin is tuple:
        _require(isinstance(data, list), where, f"a list is expected, not {data!r}")
        return tuple(_value(get_args(kind)[0], x, f"{where}[{i}]") for i, x in enumerate(data))
    if origin is not None and issubclass(origin, Mapping):
        _require(isinstance(data, dict), where, f"an object is expected, not {data!r}")
        return {key: _value(get_args(kind)[1], x, f"{where}.{key}") for key, x in data.items()}
    return _scalar(kind, data, where)


def _instance(kind: Any, data: Any, where: str) -> Any:
    _require(isinstance(data, dict), where, f"an object is expected, not {data!r}")
    hints = get_type_hints(kind)
    unknown = sorted(data.keys() - hints.keys())
    _require(not unknown, where, f"unknown keys: {', '.join(map(repr, unknown))}")
    later = {f.name for f in dataclasses.fields(kind) if f.default is not dataclasses.MISSING}
    missing = sorted(hints.keys() - data.keys() - later)
    _require(not missing, where, f"missing keys: {', '.join(map(repr, missing))}")
    return kind(
        **{name: _value(hints[name], item, f"{where}.{name}") for name, item in data.items()}
    )


def _one_of(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    for kind in kinds:
        try:
            return _value(kind, data, where)
        except ManifestError:
            continue
    names = " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)
    raise ManifestError(where, f"{data!r} is not {names}")


def _scalar(kind: Any, data: Any, where: str) -> Any:
    if kind is float and type(data) is int:
        return float(data)
    _require(type(data) is kind, where, f"{data!r} is not {kind.__name__}")
    return data


def _require(condition: bool, where: str, problem: str) -> None:
    if not condition:
        raise ManifestError(where, problem)
