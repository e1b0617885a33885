"""Where everything stands in a picture. Each block is laid out for itself by `graphlay`, the innermost first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import graphlay

from flows.language.graph import Edge, Graph, Group, Node

Point = tuple[float, float]


class Measure(Protocol):
    """What a kind of picture looks like, in its own unit."""

    @property
    def padding(self) -> Point:
        """Between a box's frame and what is in it, to the side and below."""
        ...

    @property
    def gap(self) -> Point:
        """Between boxes side by side, and between one and the next."""
        ...

    @property
    def stacked(self) -> bool:
        """Whether branches stand one below the other, for a narrow picture."""
        ...

    def size(self, lines: Sequence[str]) -> Point:
        """Of a box with these lines of text, its frame included."""
        ...

    def lines(self, node: Node) -> Sequence[str]:
        """What is written in a step's box."""
        ...

    def line(self, text: str) -> str:
        """A text as there is room for it."""
        ...


@dataclass(frozen=True)
class Box:
    """A step, or a block inside one. `lines` stand at its top."""

    x: float
    y: float
    width: float
    height: float
    lines: Sequence[str]
    node: Node | None = None
    group: Group | None = None

    def moved(self, x: float, y: float) -> Box:
        return replace(self, x=self.x + x, y=self.y + y)


@dataclass(frozen=True)
class Layout:
    """Boxes, those around others first, and the lines between them with the arrow at their last point."""

    width: float
    height: float
    boxes: Sequence[Box] = ()
    lines: Sequence[Sequence[Point]] = ()

    def moved(self, x: float, y: float) -> Layout:
        lines = [[(px + x, py + y) for px, py in line] for line in self.lines]
        return replace(self, boxes=[box.moved(x, y) for box in self.boxes], lines=lines)


@dataclass(frozen=True)
class _Part:
    """What is laid out as one box: a step with all that is in it, or a block."""

    key: str
    content: Layout


def lay_out(graph: Graph, measure: Measure) -> Layout:
    """Where the steps of a block stand, and all that is inside them."""
    parts = [_Part(node.id, _node(node, measure)) for node in graph.nodes]
    return _arranged(parts, graph.edges, measure)


def _node(node: Node, measure: Measure) -> Layout:
    lines = measure.lines(node)
    return _framed(Box(0, 0, *measure.size(lines), lines, node=node), _inside(node, measure), measure)


def _inside(node: Node, measure: Measure) -> Layout:
    if len(node.groups) == 1 and not node.groups[0].label:
        return lay_out(node.groups[0].graph, measure)
    parts = [_Part(group.label, _group(group, measure)) for group in node.groups]
    if measure.stacked or node.edges:
        return _stacked(parts, node.edges, measure)
    return _side_by_side(parts, measure)


def _group(group: Group, measure: Measure) -> Layout:
    lines = [measure.line(group.label)]
    return _framed(Box(0, 0, *measure.size(lines), lines, group=group), lay_out(group.graph, measure), measure)


def _framed(box: Box, inside: Layout, measure: Measure) -> Layout:
    """The box around what is in it, below its text."""
    width, height = box.width, box.height
    if inside.boxes:
        side, below = measure.padding
        width = max(width, inside.width + 2 * side)
        inside = inside.moved((width - inside.width) // 2, height)
        height = height + inside.height + below
    return Layout(width, height, [replace(box, width=width, height=height), *inside.boxes], inside.lines)


def _stacked(parts: Sequence[_Part], edges: Sequence[Edge], measure: Measure) -> Layout:
    """One below the other, with an arrow between neighbours of which one comes after the other."""
    width, y = max((part.content.width for part in parts), default=0), 0.0
    boxes: list[Box] = []
    lines: list[Sequence[Point]] = []
    before: _Part | None = None
    for part in parts:
        if before:
            bottom, y = y, y + measure.gap[1]
            if (before.key, part.key) in edges:
                lines.append([(width // 2, bottom), (width // 2, y)])
        placed = part.content.moved((width - part.content.width) // 2, y)
        boxes += placed.boxes
        lines += placed.lines
        y, before = y + part.content.height, part
    return Layout(width, y, boxes, lines)


def _arranged(parts: Sequence[_Part], edges: Sequence[Edge], measure: Measure) -> Layout:
    """In layers, each after those that it waits for."""
    if not edges:
        return _side_by_side(parts, measure)
    across, down = measure.gap
    graph = graphlay.Graph()
    for number, part in enumerate(parts):
        graph.node(number, width=part.content.width, height=part.content.height)
    numbers = {part.key: number for number, part in enumerate(parts)}
    for before, after in edges:
        graph.edge(numbers[before], numbers[after])
    spacing = {"node_gap": across, "layer_gap": down, "isolated_gap": across, "dummy_gap": across, "port_gap": across}
    options: dict[str, Any] = {
        "direction": "topbottom",
        "spacing": spacing,
        "routing": {"style": "orthogonal", "merge_edges": "none"},
    }
    found = graphlay.layout(graph, options=options)
    left, top = found.bounds["min"]["x"], found.bounds["min"]["y"]
    boxes: list[Box] = []
    lines: list[Sequence[Point]] = []
    for part, (x, y) in zip(parts, found.positions().values(), strict=True):
        placed = part.content.moved(x - part.content.width / 2 - left, y - part.content.height / 2 - top)
        boxes += placed.boxes
        lines += placed.lines
    for edge in found.edges:
        lines.append([(point["x"] - left, point["y"] - top) for point in edge["points"]])
    return Layout(found.bounds["max"]["x"] - left, found.bounds["max"]["y"] - top, boxes, lines)


def _side_by_side(parts: Sequence[_Part], measure: Measure) -> Layout:
    x = 0.0
    boxes: list[Box] = []
    lines: list[Sequence[Point]] = []
    for part in parts:
        placed = part.content.moved(x, 0)
        boxes += placed.boxes
        lines += placed.lines
        x += part.content.width + measure.gap[0]
    return Layout(max(x - measure.gap[0], 0), max((part.content.height for part in parts), default=0), boxes, lines)
