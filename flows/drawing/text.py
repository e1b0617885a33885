"""A picture in a terminal: boxes of Unicode's line characters, as wide as there is room for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import floor
from typing import Final

from flows.drawing.layout import Box, Layout, Point, lay_out
from flows.drawing.states import State
from flows.drawing.words import described, shortened, width_of
from flows.language.graph import Graph, Node

_ACROSS: Final = 8
_DOWN: Final = 16
"""A character's cell in the layout's unit, whose library counts in pixels."""
_TRIES: Final = ((60, False), (45, False), (30, False), (20, False), (60, True), (30, True), (18, True))
"""How long a line of text may be, and whether branches stand below each other, until it is narrow enough."""
_UP, _RIGHT, _BELOW, _LEFT = 1, 2, 4, 8
_CHARACTERS: Final = " ╵╶└╷│┌├╴┘─┴┐┤┬┼"
"""By which of the four sides a line goes to, as a sum of the numbers above."""


@dataclass(frozen=True)
class _Cells:
    states: Mapping[str, State] | None
    longest: int
    stacked: bool
    padding: Point = (2 * _ACROSS, 1 * _DOWN)
    gap: Point = (3 * _ACROSS, 2 * _DOWN)

    def size(self, lines: Sequence[str]) -> Point:
        return (max(map(width_of, lines), default=0) + 4) * _ACROSS, (len(lines) + 2) * _DOWN

    def lines(self, node: Node) -> Sequence[str]:
        return [self.line(text) for text in described(node, self.states)]

    def line(self, text: str) -> str:
        return shortened(text, self.longest)


def as_text(graph: Graph, states: Mapping[str, State] | None = None, width: int = 100) -> str:
    """The picture, at most `width` columns wide; where no boxes fit, a list.

    Args:
        states: of an execution: how far each step has come.
    """
    for longest, stacked in _TRIES:
        layout = lay_out(graph, _Cells(states, longest, stacked))
        if layout.width <= width * _ACROSS:
            return _drawn(layout)
    return "\n".join(shortened(line, width) for line in _listed(graph, states))


def _drawn(layout: Layout) -> str:
    grid = _Grid()
    for line in layout.lines:
        grid.line(line)
    for box in layout.boxes:
        grid.box(box)
    return grid.text()


class _Grid:
    """Lines as the sides that they go to from each cell, and the text and arrows that stand above them."""

    def __init__(self) -> None:
        self._sides: dict[tuple[int, int], int] = {}
        self._written: dict[tuple[int, int], str] = {}

    def line(self, points: Sequence[Point]) -> None:
        """An edge, from below a box to the arrow above another one."""
        cells = [(floor(x / _ACROSS), _nearest(y / _DOWN)) for x, y in points]
        (last_x, last_y), first_y = cells[-1], cells[0][1]
        lowest = max(first_y, last_y - 2)  # of what goes across: the arrow is below it
        path = [(x, min(max(y, first_y), lowest)) for x, y in cells[:-1]] + [(last_x, last_y - 1)]
        self._mark((path[0][0], first_y - 1), _BELOW)  # in the frame of the box where it begins
        self._mark(path[0], _UP)
        for before, after in pairwise(path):
            self._stretch(before, after)
        self._written[last_x, last_y - 1] = "▼"

    def box(self, box: Box) -> None:
        left, top = _nearest(box.x / _ACROSS), _nearest(box.y / _DOWN)
        right, bottom = left + round(box.width / _ACROSS) - 1, top + round(box.height / _DOWN) - 1
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        for before, after in pairwise(corners):
            self._stretch(before, after)
        for row, line in enumerate(box.lines, start=top + 1):
            column = left + 2
            for character in line:
                self._written[column, row] = self._written.get((column, row), "") + character
                column += width_of(character)

    def _stretch(self, before: tuple[int, int], after: tuple[int, int]) -> None:
        (x, y), (to_x, to_y) = before, after
        while x != to_x:
            step = 1 if to_x > x else -1
            self._mark((x, y), _RIGHT if step > 0 else _LEFT)
            x += step
            self._mark((x, y), _LEFT if step > 0 else _RIGHT)
        while y != to_y:
            step = 1 if to_y > y else -1
            self._mark((x, y), _BELOW if step > 0 else _UP)
            y += step
            self._mark((x, y), _UP if step > 0 else _BELOW)

    def _mark(self, cell: tuple[int, int], side: int) -> None:
        self._sides[cell] = self._sides.get(cell, 0) | side

    def text(self) -> str:
        cells = {cell: _CHARACTERS[sides] for cell, sides in self._sides.items()} | self._written
        rows: dict[int, dict[int, str]] = {}
        for (x, y), character in cells.items():
            rows.setdefault(y, {})[x] = character
        return "\n".join(_row(rows.get(y, {})) for y in range(min(rows, default=0), max(rows, default=-1) + 1))


def _row(cells: Mapping[int, str]) -> str:
    text, column = "", 0
    for x in sorted(cells):
        text += " " * (x - column) + cells[x]
        column = max(x, column) + width_of(cells[x])
    return text


def _nearest(value: float) -> int:
    return floor(value + 0.5)


def _listed(graph: Graph, states: Mapping[str, State] | None, indent: str = "") -> Iterator[str]:
    """A step a line, what is inside it below and further in."""
    for node in graph.nodes:
        yield f"{indent}{'  '.join(described(node, states))}"
        for group in node.groups:
            if group.label:
                yield f"{indent}  {group.label}:"
            yield from _listed(group.graph, states, f"{indent}  {'  ' if group.label else ''}")
