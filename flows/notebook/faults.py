"""What is wrong with a cell: its lines, each fault below its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from flows.language.faults import DefinitionErrors
from flows.notebook.shown import Bundle, Shown
from foundation.errors import DefinitionError
from foundation.printable import printable

_AROUND = 1
"""Lines that are shown before and after one with a fault."""
_RED = "color:#cf222e"
_CODE = "font-family:monospace;white-space:pre;overflow-x:auto"


class CellFaults(Shown):
    """
    Args:
        lines: the whole cell's, the magic's own included.
        faults: with lines that are counted from the one after that.
    """

    def __init__(self, lines: Sequence[str], faults: Sequence[DefinitionError]) -> None:
        self._lines = [printable(line) for line in lines]
        self._faults = [((fault.line or 0) + 1, fault.column, printable(fault.message)) for fault in faults]

    def bundle(self) -> Bundle:
        counted = _counted(self._faults)
        parts = list(self._parts())
        html = "\n".join(
            f'<span style="{_RED}">{escape(text)}</span>' if wrong else escape(text) for text, wrong in parts
        )
        return {
            "text/html": f'<div><b style="{_RED}">{counted}</b><pre style="{_CODE}">{html}</pre></div>',
            "text/plain": "\n".join([counted, *(text for text, _ in parts)]),
        }

    def _parts(self) -> Iterator[tuple[str, bool]]:
        """Lines to show, and whether each is about a fault."""
        near = {line + step for line, _, _ in self._faults for step in range(-_AROUND, _AROUND + 1)}
        last = 0
        for number, line in enumerate(self._lines, start=1):
            if number not in near:
                continue
            if last and number > last + 1:
                yield "     …", False
            last = number
            yield f"{number:>4} │ {line}", False
            marked = ""
            for column, message in (fault[1:] for fault in self._faults if fault[0] == number):
                if marked != (marked := _marker(line, column)):
                    yield f"     │ {marked}", True
                yield f"     │ {' ' * marked.index('^')}{message}", True


def _marker(line: str, column: int | None) -> str:
    """What points at the fault: from its column on; without one, at the whole line."""
    start = column - 1 if column else len(line) - len(line.lstrip())
    return " " * start + "^" * max(len(line.rstrip()) - start, 1)


def _counted(faults: Sequence[object]) -> str:
    return f"{len(faults)} {'fault' if len(faults) == 1 else 'faults'} in this cell"


class CellError(DefinitionErrors):
    """A cell whose workflow is wrong. What is wrong is shown already, so that a notebook shows one line of it."""

    def _render_traceback_(self) -> list[str]:
        return [f"CellError: {_counted(self.errors)}; see above"]
