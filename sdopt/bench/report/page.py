"""One page that says everything and needs nothing else: tables, plots, and how it was measured."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sdopt.bench.environment import Environment

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #30343b; max-width: 1080px; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
img { max-width: 100%; } figure { margin: 1rem 0; overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
.wide { overflow-x: auto; margin: 0.6rem 0 1.4rem; }
th, td { text-align: right; padding: 0.2rem 0.7rem; border-bottom: 1px solid #e3e6ea;
         vertical-align: top; }
.words { text-align: left; }
.note { color: #5c636e; font-size: 0.9rem; }
.slower { color: #b3261e; font-weight: 600; } .undecided { color: #8a6d00; }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Cells as text.

    Attributes:
        headings: One for each column.
        rows: From the top.
        words: How many columns, the first ones, hold words; numbers are to the right.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page.

    Attributes:
        title: Its heading.
        plots: PNG files by name, without ``.png``.
        tables: Below the plots.
        notes: Below the tables, each a paragraph.
    """

    title: str
    plots: Mapping[str, bytes]
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()


def page(title: str, sections: Sequence[Section]) -> str:
    """Return a page of HTML with its pictures inside."""
    body = "\n".join(part for section in sections for part in _section(section))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style></head><body>\n"
        f"<h1>{html.escape(title)}</h1>\n{body}\n</body></html>\n"
    )


def environment_rows(environment: Environment) -> list[tuple[str, str]]:
    """Lay out where something was measured."""
    processor = environment.processor
    clock = f", {processor.mhz:.0f} MHz" if processor.mhz else ""
    governor = f", governor {processor.governor}" if processor.governor else ""
    memory = environment.memory_bytes
    return [
        ("processor", f"{processor.name}, {processor.cores} cores{clock}{governor}"),
        ("instruction sets", ", ".join(processor.flags) or "not told"),
        ("memory", f"{memory / 1e9:.1f} GB" if memory else "not told"),
        ("load average before", f"{environment.load_average:g}"),
        *(("GPU", ", ".join(f"{k} {v}" for k, v in gpu.items())) for gpu in environment.gpus),
        ("system", f"{environment.system}, Python {environment.python}"),
        ("versions", ", ".join(f"{name} {v}" for name, v in environment.versions.items())),
    ]


def _section(section: Section) -> Iterator[str]:
    yield f"<h2>{html.escape(section.title)}</h2>"
    for name, file in section.plots.items():
        data = base64.b64encode(file).decode("ascii")
        yield f'<figure><img alt="{html.escape(name)}" src="data:image/png;base64,{data}"></figure>'
    for table in section.tables:
        yield f'<div class="wide"><table>{_rows(table)}</table></div>'
    for note in section.notes:
        yield f'<p class="note">{html.escape(note)}</p>'


def _rows(table: Table) -> str:
    head = _row("th", table.headings, table.words)
    return "\n".join([head, *(_row("td", row, table.words) for row in table.rows)])


def _row(tag: str, cells: Sequence[str], words: int) -> str:
    marked = [(_class(cell, is_words=index < words), cell) for index, cell in enumerate(cells)]
    made = "".join(f"<{tag}{mark}>{html.escape(cell)}</{tag}>" for mark, cell in marked)
    return f"<tr>{made}</tr>"


def _class(cell: str, *, is_words: bool) -> str:
    names = [cell] if cell in ("slower", "undecided") else []
    if is_words:
        names.append("words")
    return f' class="{" ".join(names)}"' if names else ""
