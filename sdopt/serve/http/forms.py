"""Forms with files (multipart), read into memory within the limits of a body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from sdopt.errors import InvalidValueError

Body = TypeVar("Body", bound=BaseModel)
Fields = Mapping[str, Sequence[str | bytes]]
"""What was sent under each name: texts, and the bytes of files."""

_MOST_PARTS = 64
_TEXT_BYTES = 100_000


class _InMemory(MultiPartParser):
    """Keeps files in memory: the limit of a body is what bounds them, and no disk is written."""

    spool_max_size = 1 << 40


async def read_form(request: Request) -> dict[str, list[str | bytes]]:
    """Return the fields of a form: texts, and the bytes of files; the files' names are dropped.

    Raises:
        HTTPException: The body is no form, or too large.
    """
    kind = request.headers.get("content-type", "")
    if not kind.casefold().startswith("multipart/form-data"):
        raise HTTPException(400, f"The body is {kind[:50]!r}, and has to be multipart/form-data.")
    parser = _InMemory(
        request.headers,
        request.stream(),
        max_files=_MOST_PARTS,
        max_fields=_MOST_PARTS,
        max_part_size=_TEXT_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, f"The form cannot be read: {error.message}") from error
    fields: dict[str, list[str | bytes]] = {}
    for name, value in form.multi_items():
        data = await value.read() if isinstance(value, UploadFile) else value
        fields.setdefault(name, []).append(data)
    await form.close()
    return fields


def texts(fields: Fields, files: Sequence[str]) -> dict[str, str]:
    """Return the fields of a form that are no files.

    Args:
        fields: As :func:`read_form` returns them.
        files: Names that are left out.

    Raises:
        InvalidValueError: One was sent twice, or as a file.
    """
    found = {}
    for name, values in fields.items():
        if name in files:
            continue
        if len(values) > 1:
            raise InvalidValueError(name, f"sent {len(values)} times", "sent once")
        if not isinstance(values[0], str):
            raise InvalidValueError(name, "a file", "a text")
        found[name] = values[0]
    return found


def file(fields: Fields, *names: str) -> bytes | None:
    """Return the one file that a form has under any of these names, or None.

    Raises:
        InvalidValueError: There are several, or it is a text.
    """
    sent = [value for name in names for value in fields.get(name, ())]
    if len(sent) > 1:
        raise InvalidValueError(names[0], f"{len(sent)} files", "one file")
    if sent and not isinstance(sent[0], bytes):
        hint = "Send the picture itself, never its address"
        raise InvalidValueError(names[0], "a text", "a file", hint)
    return sent[0] if sent and isinstance(sent[0], bytes) else None


def parsed(kind: type[Body], data: Mapping[str, Any]) -> Body:
    """Check fields as FastAPI checks those of a JSON body.

    Raises:
        RequestValidationError: The first problem is what clients are told.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        problems = [
            dict(problem) | {"loc": ("body", *problem["loc"])}
            for problem in error.errors(include_url=False)
        ]
        raise RequestValidationError(problems) from error
