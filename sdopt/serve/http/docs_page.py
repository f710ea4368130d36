"""``/docs``: the routes and the tables of fields, as a page that loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from sdopt.serve.http.fields import Field
from sdopt.serve.http.openai_fields import OPENAI_EDIT_FIELDS, OPENAI_FIELDS
from sdopt.serve.http.webui_fields import IMG2IMG_FIELDS, TXT2IMG_FIELDS

_HEAD = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>sdopt: API</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
color-scheme:light dark}table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid
#8886;padding:.3rem .6rem;text-align:left;vertical-align:top}code{font-size:.9em}</style></head>
<body><h1>sdopt</h1><p>The machine-readable description is
<a href="/openapi.json">openapi.json</a>.</p>"""


def docs_page(description: Mapping[str, Any]) -> str:
    """Return the page for an OpenAPI description."""
    routes = [
        (method.upper(), path, operation.get("description", ""))
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
    ]
    return "".join(
        [
            _HEAD,
            "<h2>Routes</h2>",
            _table(("", "path", ""), routes),
            "<h2>POST /v1/images/generations</h2>",
            _fields(OPENAI_FIELDS),
            "<h2>POST /v1/images/edits</h2>",
            _fields(OPENAI_EDIT_FIELDS),
            "<h2>POST /sdapi/v1/txt2img</h2>",
            _fields(TXT2IMG_FIELDS),
            "<h2>POST /sdapi/v1/img2img</h2>",
            _fields(IMG2IMG_FIELDS),
            "</body></html>",
        ]
    )


def _fields(fields: Sequence[Field]) -> str:
    rows = [(field.name, field.verdict, field.note) for field in fields]
    return _table(("field", "here", "what that means"), rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [_row("th", heads), *(_row("td", row) for row in rows)]
    return f"<table>{''.join(lines)}</table>"


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
