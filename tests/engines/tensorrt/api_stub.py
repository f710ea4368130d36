"""From a described module of pybind11's to a stub, so that mypy checks our calls."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

HEADER = "import collections.abc\nimport numpy\nimport typing\nimport typing_extensions\n\n"
_SKIPPED = {"__doc__", "__module__", "__new__", "__members__", "__eq__", "__ne__", "__hash__"}


def stub(api: dict[str, Any], package: str) -> str:
    """Write a stub.

    Args:
        api: What `describe_api.py` printed.
        package: The bindings' own package, such as ``tensorrt_bindings``.
    """
    lines: list[str] = []
    for name, said in sorted(api.items()):
        if said["kind"] == "class":
            lines += _class(name, said, "")
        elif said["kind"] == "function":
            lines += _function(name, said["doc"], "")
        else:
            lines.append(f"{name}: typing.Any")
    text = "\n".join(lines)
    text = re.sub(rf"\b{package}\.\w+\.", "", text)  # tensorrt_bindings.tensorrt.ILogger
    return HEADER + text


def _class(path: str, said: dict[str, Any], indent: str) -> list[str]:
    name = path.rpartition(".")[2]
    inner = indent + "    "
    lines = [f"{indent}class {name}:"]
    lines += [f"{inner}{member}: {path}" for member in said["enum"]]
    members = {n: m for n, m in said["members"].items() if n not in _SKIPPED and n.isidentifier()}
    for member, value in members.items():
        lines += _member(f"{path}.{member}", value, inner)
    if {
        "__getitem__",
        "__len__",
    } <= members.keys() and "__iter__" not in members:  # Python's sequences can be iterated over
        lines.append(f"{inner}def __iter__(self) -> typing.Iterator[int]: ...")
    if "using Python's buffer protocol" in said["doc"]:
        lines.append(f"{inner}def __buffer__(self, flags: int, /) -> memoryview: ...")
    return [*lines, f"{inner}..."]


def _member(path: str, said: dict[str, Any], indent: str) -> list[str]:
    if said["kind"] == "class":
        return _class(path, said, indent)
    name = path.rpartition(".")[2]
    if said["kind"] == "property":
        return _property(name, said, indent)
    if said["kind"] == "method":
        return _function(name, said["doc"], indent)
    return [f"{indent}{name}: {said['type'] if '.' in said['type'] else 'typing.Any'}"]


def _property(name: str, said: dict[str, Any], indent: str) -> list[str]:
    found = re.search(r"-> ([\w.\[\], |]+)$", _without_cpp(said["get"] or ""), re.MULTILINE)
    lines = [
        f"{indent}@property",
        f"{indent}def {name}(self) -> {found[1] if found else 'typing.Any'}: ...",
    ]
    if said["set"] is not None:
        takes = re.search(r"arg1: ([\w.\[\], |]+)\) ->", _without_cpp(said["set"]))
        lines.append(f"{indent}@{name}.setter")
        kind = takes[1] if takes else "typing.Any"
        lines.append(f"{indent}def {name}(self, value: {kind}) -> None: ...")
    return lines


def _function(name: str, doc: str, indent: str) -> list[str]:
    found = list(signatures(name, doc))
    if not found:
        return [f"{indent}{name}: typing.Any"]
    overload = [f"{indent}@typing.overload"] if len(found) > 1 else []
    return [line for each in found for line in (*overload, f"{indent}def {name}{each}: ...")]


def signatures(name: str, doc: str) -> Iterator[str]:
    """Give the signatures that pybind11 wrote into a docstring, as Python."""
    for line in _without_cpp(doc).splitlines():
        match = re.match(rf"(?:\d+\. )?{re.escape(name)}(\(.*\) -> .+)", line.strip())
        if match and "*args, **kwargs" not in line:
            text = re.sub(r"\(self: [^,)]+", "(self", match[1])
            text = re.sub(r"= <[^>]*>", "= ...", text)
            text = re.sub(r": (str|[\w.]+) = None", r": \1 | None = None", text)
            yield text if _is_python(text) else "(*args: typing.Any) -> typing.Any"


def _without_cpp(text: str) -> str:
    """Replace types that pybind11 only knows by their C++ names."""
    return re.sub(r"\b\w+(?:::\w+)+(?:<[^>]*>)?", "typing.Any", text)


def _is_python(signature: str) -> bool:
    """Say whether it is: arguments called ``in`` and types of C++'s are not."""
    try:
        ast.parse(f"def f{signature}: ...")
    except SyntaxError:
        return False
    return True
