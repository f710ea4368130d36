"""What an API's fields do here: the tables that the code uses, and that the documents publish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sdopt.errors import InvalidValueError, RequestError, unknown_name

Verdict = Literal["honoured", "refused", "no effect"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a request.

    Attributes:
        name: As it is sent.
        verdict: What becomes of it.
        note: For people.
        neutral: Values of a refused field that ask for nothing, and are therefore let pass.
        only_with: The field without which it asks for nothing, whatever its value.
    """

    name: str
    verdict: Verdict
    note: str
    neutral: tuple[object, ...] = ()
    only_with: str | None = None


class UnknownFieldError(RequestError):
    """A request has a field that its API does not know."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        super().__init__(unknown_name("field", name, known))


def refuse_the_unsupported(sent: Mapping[str, object], table: Sequence[Field]) -> None:
    """Refuse a request whose fields would change the picture in ways that are not supported.

    Raises:
        UnknownFieldError: The table has no such field.
        InvalidValueError: A refused field asks for something.
    """
    fields = {field.name: field for field in table}
    for name, value in sent.items():
        if name not in fields:
            raise UnknownFieldError(name, tuple(fields))
        field = fields[name]
        if field.only_with is not None and not sent.get(field.only_with):
            continue
        if field.verdict == "refused" and value is not None and not _is_one_of(value, field):
            allowed = " or ".join(map(repr, field.neutral)) or "not supported by this server"
            raise InvalidValueError(name, _short(value), allowed, field.note)


def _is_one_of(value: object, field: Field) -> bool:
    return any(type(value) is type(one) and value == one for one in field.neutral) or (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and any(isinstance(one, (int, float)) and value == one for one in field.neutral)
    )


def _short(value: object) -> object:
    return value if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."


def markdown_table(table: Sequence[Field]) -> str:
    """Return a table of fields as Markdown."""
    lines = ["| field | here | what that means |", "|---|---|---|"]
    for field in table:
        neutral = ", ".join(f"`{value!r}`" for value in field.neutral)
        passed = f" Let pass: {neutral}." if neutral else ""
        if field.only_with is not None:
            passed += f" No effect without {field.only_with}."
        lines.append(f"| `{field.name}` | {field.verdict} | {field.note}{passed} |")
    return "\n".join(lines) + "\n"
