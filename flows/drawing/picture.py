"""A picture: of a workflow, or of one of its executions; what it is drawn of, whoever draws it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from flows.drawing.mermaid import as_mermaid
from flows.drawing.states import Record, State, states_of
from flows.drawing.svg import as_svg
from flows.drawing.text import as_text
from flows.language.definition import Declaration
from flows.language.graph import Graph, Node
from flows.language.place import Actions
from flows.language.python_graph import chained, graph_of_function
from flows.language.workflow import Workflow

Format = Literal["text", "svg", "mermaid"]


@dataclass(frozen=True)
class Picture:
    """
    Attributes:
        states: of an execution, how far each step has come; None: of the workflow by itself.
    """

    title: str
    graph: Graph
    states: Mapping[str, State] | None = None

    def draw(self, form: Format, width: int = 100) -> str:
        """
        Args:
            width: of the text, in columns.
        """
        if form == "svg":
            return as_svg(self.graph, self.states, self.title)
        return as_mermaid(self.graph, self.states) if form == "mermaid" else as_text(self.graph, self.states, width)

    def document(self) -> dict[str, Any]:
        """It as plain data."""
        states = None if self.states is None else {step: asdict(state) for step, state in self.states.items()}
        return {"title": self.title, "graph": asdict(self.graph), "states": states}


def graph_of(declaration: Declaration, source: str, actions: Actions) -> Graph:
    """A workflow's graph. Of a Python workflow it is what its code shows.

    Args:
        source: its file's text.

    Raises:
        DefinitionErrors: it does not compile; `ipaas check` says the same.
    """
    if isinstance(declaration, Workflow):
        declaration.compile(actions)
        return declaration.graph()
    return graph_of_function(source, declaration, actions)


def picture_of_execution(title: str, workflow: Graph | None, records: Sequence[Record]) -> Picture:
    """How far an execution has come, in its workflow's picture; where that lacks one of its steps (a Python function's
    loops, a workflow that is not known any more), the steps that were recorded."""
    known = {node.id for node in workflow.every_node()} if workflow else set()
    graph = workflow if workflow and all(record.step in known for record in records) else _recorded(records)
    return Picture(title, graph, states_of(graph, records))


def _recorded(records: Collection[Record]) -> Graph:
    """The recorded steps in the order in which they began, what ran at the same time side by side."""
    stages: list[list[Node]] = []
    ends: list[datetime | None] = []
    seen: set[str] = set()
    for record in records:
        if record.step in seen:
            continue
        seen.add(record.step)
        is_action = "." in record.action
        node = Node(record.step, "uses" if is_action else record.action, record.action if is_action else "")
        began = record.started_at
        if stages and began and all(end is None or end > began for end in ends):
            stages[-1].append(node)
        else:
            stages.append([node])
            ends = []
        ends.append(record.finished_at)
    return chained(stages)
