"""What stands below a cell: for Jupyter and marimo as HTML without scripts, as SVG, and as text.

It is saved with the notebook, and looks the same when that is opened without a kernel.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from flows.drawing.picture import Picture
from flows.drawing.states import Record, duration
from flows.drawing.words import SYMBOLS
from foundation.printable import printable

Bundle = dict[str, str]
_MOST_STEPS: Final = 200
"""Steps whose input and output are shown."""
_MOST_CHARACTERS: Final = 4_000
_CODE: Final = (
    "font-family:monospace;white-space:pre-wrap;overflow-wrap:anywhere;margin:.3em 0 .3em 1.2em;font-size:90%"
)
_TABLE: Final = "border-collapse:collapse;font-size:90%"
_CELL: Final = "padding:.2em .8em .2em 0;text-align:left;vertical-align:top"


class Shown:
    """What shows itself by its `bundle`."""

    def bundle(self) -> Bundle:
        raise NotImplementedError

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Bundle:
        return self.bundle()

    def _repr_html_(self) -> str:
        return self.bundle()["text/html"]

    def __repr__(self) -> str:
        return self.bundle()["text/plain"]


@dataclass(frozen=True, repr=False)
class Drawing(Shown):
    """A picture, what is said above it, and the steps of an execution, each of which opens on a click.

    Attributes:
        said: above it, in a line.
        values: below it, by name: what the execution gave.
    """

    picture: Picture
    said: str
    records: Sequence[Record] = ()
    values: Mapping[str, Any] | None = None

    def bundle(self) -> Bundle:
        svg, text = self.picture.draw("svg"), self.picture.draw("text")
        # As an image: what notebooks take out of HTML that they don't trust they leave there.
        source = base64.b64encode(svg.encode()).decode()
        html = "".join(
            (
                f"<div><div>{_text(self.said)}</div>",
                f'<img alt="{_text(self.picture.title)}" style="max-width:100%" '
                f'src="data:image/svg+xml;base64,{source}">',
                *(_details(record) for record in self.records[:_MOST_STEPS]),
                _rest(len(self.records) - _MOST_STEPS),
                *(_value(name, value) for name, value in (self.values or {}).items() if value is not None),
                "</div>",
            )
        )
        plain = [printable(self.said), text]
        plain += [f"{name}: {_json(value)}" for name, value in (self.values or {}).items() if value is not None]
        return {"text/html": html, "image/svg+xml": svg, "text/plain": "\n".join(plain)}


def _details(record: Record) -> str:
    state = f"{SYMBOLS.get(record.status, '')} {record.status.replace('_', ' ')}"
    took = "" if record.seconds is None or record.status == "skipped" else f", {duration(record.seconds)}"
    tried = f", {record.attempts} attempts" if record.attempts > 1 else ""
    values = {"input": record.input, "output": record.output, "error": record.error}
    inside = "".join(_value(name, value) for name, value in values.items() if value is not None)
    return (
        f"<details><summary><b>{_text(record.path)}</b> {_text(record.action)} {_text(state)}{took}{tried}</summary>"
        f"{inside or '<div>nothing is recorded</div>'}</details>"
    )


def _rest(count: int) -> str:
    return f"<div>… and {count} more</div>" if count > 0 else ""


def _value(name: str, value: Any) -> str:
    return f'<div>{_text(name)}</div><pre style="{_CODE}">{escape(_json(value))}</pre>'


def _json(value: Any) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str).encode(errors="replace").decode()
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


def _text(value: Any) -> str:
    return escape(printable("" if value is None else str(value)))


@dataclass(frozen=True, repr=False)
class Table(Shown):
    """Rows of the same keys, as they can be used: `table[0]["status"]`."""

    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self.rows)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        return self.rows[index]

    def bundle(self) -> Bundle:
        head = "".join(f'<th style="{_CELL}">{_text(name)}</th>' for name in self.columns)
        body = "".join(f"<tr>{''.join(self._cells(row))}</tr>" for row in self.rows)
        cells = [list(self.columns), *([_plain(row[name]) for name in self.columns] for row in self.rows)]
        widths = [max(len(line[column]) for line in cells) for column in range(len(self.columns))]
        plain = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
        ]
        return {
            "text/html": f'<table style="{_TABLE}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>',
            "text/plain": "\n".join(plain),
        }

    def _cells(self, row: Mapping[str, Any]) -> Iterator[str]:
        return (f'<td style="{_CELL}">{_text(row[name])}</td>' for name in self.columns)


@dataclass(frozen=True, repr=False)
class Said(Shown):
    """A sentence."""

    text: str

    def bundle(self) -> Bundle:
        return {"text/html": f"<div>{_text(self.text)}</div>", "text/plain": _plain(self.text)}


def _plain(value: Any) -> str:
    return printable("" if value is None else str(value))
