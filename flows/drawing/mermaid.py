"""A picture as Mermaid's text (https://mermaid.js.org/syntax/flowchart.html), which GitHub and many wikis draw."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Final

from flows.drawing.states import FAILED, UNFINISHED, State
from flows.drawing.words import described
from flows.language.graph import Edge, Graph, Node

_NOT_PLAIN: Final = re.compile(r"[^\w .,:/%()=+*!?$-]", re.ASCII)
"""What could mean something to Mermaid, or to the page it is drawn on."""
_CLASSES: Final = {
    "good": "stroke:#1a7f37,stroke-width:2px",
    "bad": "stroke:#cf222e,stroke-width:2px",
    "busy": "stroke:#9a6700,stroke-width:2px",
}


def as_mermaid(graph: Graph, states: Mapping[str, State] | None = None) -> str:
    """The picture; with the states of an execution, how far each step has come."""
    lines = ["flowchart TD", *_Writer(states).block(graph, "  ")]
    if states is not None:
        lines += [f"  classDef {name} {style}" for name, style in _CLASSES.items()]
    return "\n".join(lines)


class _Writer:
    def __init__(self, states: Mapping[str, State] | None) -> None:
        self._states, self._numbers = states, count(1)

    def block(self, graph: Graph, indent: str) -> Iterator[str]:
        names = {node.id: f"n{next(self._numbers)}" for node in graph.nodes}
        for node in graph.nodes:
            yield from self._node(node, names[node.id], indent)
        yield from _edges(graph.edges, names, indent)

    def _node(self, node: Node, name: str, indent: str) -> Iterator[str]:
        label = "<br>".join(map(_plain, described(node, self._states)))
        if not node.groups:
            yield f'{indent}{name}["{label}"]{self._class(node)}'
            return
        yield f'{indent}subgraph {name}["{label}"]'
        names: dict[str, str] = {}
        for group in node.groups:
            if not group.label:
                yield from self.block(group.graph, f"{indent}  ")
                continue
            names[group.label] = f"n{next(self._numbers)}"
            yield f'{indent}  subgraph {names[group.label]}["{_plain(group.label)}"]'
            yield from self.block(group.graph, f"{indent}    ")
            yield f"{indent}  end"
        yield from _edges(node.edges, names, f"{indent}  ")
        yield f"{indent}end"

    def _class(self, node: Node) -> str:
        state = self._states.get(node.id) if self._states else None
        if state is None or state.status in ("skipped", "cancelled"):
            return ""
        return ":::bad" if state.status in FAILED else ":::busy" if state.status in UNFINISHED else ":::good"


def _edges(edges: tuple[Edge, ...], names: Mapping[str, str], indent: str) -> Iterator[str]:
    for before, after in edges:
        yield f"{indent}{names[before]} --> {names[after]}"


def _plain(text: str) -> str:
    """The text with what could mean something as character codes, which Mermaid writes as `#35;`."""
    return _NOT_PLAIN.sub(lambda found: f"#{ord(found[0])};", text)
