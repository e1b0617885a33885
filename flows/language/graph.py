"""A workflow as data for a picture: what stands in it, and what waits for what. `flows.drawing` draws it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from flows.language.definition import Failure, Poll, Schedule, Webhook

if TYPE_CHECKING:
    from flows.language.step import Inner, Step
    from flows.language.workflow import Workflow

Edge = tuple[str, str]
"""What comes before, and what waits for it."""


@dataclass(frozen=True)
class Node:
    """A step.

    Attributes:
        id: the step's; one in angle brackets is no step's: `<trigger 1>`.
        kind: the step's.
        label: what it does, in a few words of its author's.
        condition: its `if`.
        may_fail: its block goes on when it failed.
        groups: the blocks inside it.
        edges: which of these comes after which, by their labels.
    """

    id: str
    kind: str
    label: str = ""
    condition: str | None = None
    may_fail: bool = False
    groups: tuple[Group, ...] = ()
    edges: tuple[Edge, ...] = ()

    @property
    def is_step(self) -> bool:
        return not self.id.startswith("<")


@dataclass(frozen=True)
class Group:
    """A block inside a step.

    Attributes:
        label: which one: a case's value, `catch`; empty for the only one.
        repeats: it is a loop's, and runs once each round.
    """

    label: str
    graph: Graph
    repeats: bool = False


@dataclass(frozen=True)
class Graph:
    """A block. `edges` are by the nodes' ids."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...] = ()

    def every_node(self) -> Iterator[Node]:
        """All its nodes, however deep."""
        for node in self.nodes:
            yield node
            yield from chain.from_iterable(group.graph.every_node() for group in node.groups)

    def every_edge(self) -> Iterator[Edge]:
        """All that waits for something, however deep."""
        yield from self.edges
        for node in self.nodes:
            yield from chain.from_iterable(group.graph.every_edge() for group in node.groups)


def graph_of_steps(steps: Sequence[Step]) -> Graph:
    """A block of compiled steps."""
    return Graph(
        tuple(step.as_node() for step in steps), tuple((before, step.id) for step in steps for before in step.after)
    )


def groups_of(blocks: Sequence[Inner]) -> tuple[tuple[Group, ...], tuple[Edge, ...]]:
    """A step's blocks, and which of them come after which."""
    labels = {id(block.steps): _label(block) for block in blocks}
    groups = tuple(Group(labels[id(block.steps)], graph_of_steps(block.steps), not block.seen) for block in blocks)
    edges = ((labels.get(id(before)), labels[id(block.steps)]) for block in blocks for before in block.earlier)
    return groups, tuple((before, after) for before, after in edges if before is not None)


def _label(block: Inner) -> str:
    return "" if block.at == ("steps",) else str(block.at[-1])


def graph_of_workflow(workflow: Workflow) -> Graph:
    """Its triggers, its steps and what runs when it failed. It is compiled already."""
    steps = graph_of_steps(workflow.steps)
    triggers = trigger_nodes(workflow.triggers)
    first = [step.id for step in workflow.steps if not step.after]
    nodes, edges = (*triggers, *steps.nodes), [(trigger.id, one) for trigger in triggers for one in first]
    if workflow.on_failure:
        nodes += (Node("<on_failure>", "on_failure", groups=(Group("", graph_of_steps(workflow.on_failure)),)),)
    return Graph(nodes, (*edges, *steps.edges))


def trigger_nodes(triggers: Sequence[object]) -> tuple[Node, ...]:
    return tuple(Node(f"<trigger {number}>", *_trigger(one)) for number, one in enumerate(triggers, start=1))


def _trigger(trigger: object) -> tuple[str, str]:
    """Its kind, and what starts it."""
    if isinstance(trigger, Webhook):
        return "webhook", f"{' '.join(trigger.methods)} /hooks/{trigger.path}"
    if isinstance(trigger, Schedule):
        return "schedule", f"every {trigger.every:g} s" if trigger.every else f"{trigger.cron} {trigger.timezone or ''}"
    if isinstance(trigger, Poll):
        return "poll", f"{trigger.uses} every {trigger.every:g} s"
    if isinstance(trigger, Failure):
        return "failure", f"of {', '.join(trigger.of)}"
    raise TypeError(f"{trigger!r} is no trigger")
