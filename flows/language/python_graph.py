"""A Python workflow as data for a picture, by reading its code: the actions that it calls, in order, and what it does
them in: `if`, `for`, `while`, `try`, `match`. What other functions do is not seen."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from typing import Final

from flows.language.definition import Declaration
from flows.language.graph import Edge, Graph, Group, Node, trigger_nodes

_STEPS: Final = frozenset({"step", "sleep", "signal", "callback", "approval", "call"})
"""Functions of `flows` that are steps."""
_Stage = list[Node]
"""What happens side by side."""


def graph_of_function(source: str, declaration: Declaration, actions: Collection[str]) -> Graph:
    """The workflow's triggers, and what its function does.

    Args:
        source: the module that defines it.
        actions: the names of all there are.
    """
    module = ast.parse(source)
    function = next(_functions(module, declaration.name), None)
    triggers = trigger_nodes(declaration.triggers)
    stages = _Reader(module, actions).stages(function.body if function else [])
    return chained([*([list(triggers)] if triggers else []), *stages])


def chained(stages: Sequence[Sequence[Node]]) -> Graph:
    """One stage after the other, what is in a stage side by side."""
    edges: list[Edge] = []
    for before, after in pairwise(stages):
        edges += [(one.id, other.id) for one in before for other in after]
    return Graph(tuple(node for stage in stages for node in stage), tuple(edges))


def _functions(module: ast.Module, workflow: str) -> Iterator[ast.AsyncFunctionDef]:
    for node in ast.walk(module):
        if not isinstance(node, ast.AsyncFunctionDef):
            continue
        given = [
            keyword.value.value
            for decorator in node.decorator_list
            if isinstance(decorator, ast.Call)
            for keyword in decorator.keywords
            if keyword.arg == "name" and isinstance(keyword.value, ast.Constant)
        ]
        if workflow in (given or [node.name.replace("_", "-")]):
            yield node


def imported_names(module: ast.Module) -> dict[str, str]:
    """What each imported name stands for, with its module."""
    names: dict[str, str] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names |= {name.asname or name.name: name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
    return names


class _Reader:
    def __init__(self, module: ast.Module, actions: Collection[str]) -> None:
        self._actions, self._calls = actions, Counter[str]()
        self._names = imported_names(module)

    def stages(self, statements: Sequence[ast.stmt]) -> list[_Stage]:
        return [stage for statement in statements for stage in self._statement(statement)]

    def _statement(self, statement: ast.stmt) -> list[_Stage]:
        match statement:
            case ast.If():
                branches = [("yes", statement.body), ("no", statement.orelse)]
                return self._around("if", statement.test, branches)
            case ast.For() | ast.AsyncFor():
                label = f"{ast.unparse(statement.target)} in {ast.unparse(statement.iter)}"
                return self._around("for", statement.iter, [("", statement.body)], label, repeats=True)
            case ast.While():
                return self._around("while", statement.test, [("", statement.body)], repeats=True)
            case ast.Match():
                cases = [(ast.unparse(case.pattern), case.body) for case in statement.cases]
                return self._around("match", statement.subject, cases)
            case ast.Try():
                return self._try(statement)
            case ast.With() | ast.AsyncWith():
                return [stage for item in statement.items for stage in self._calls_in(item)] + self.stages(
                    statement.body
                )
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                return []
        return self._calls_in(statement)

    def _around(
        self,
        kind: str,
        looked_at: ast.expr,
        blocks: Sequence[tuple[str, Sequence[ast.stmt]]],
        label: str | None = None,
        *,
        repeats: bool = False,
    ) -> list[_Stage]:
        """A statement with blocks, and before it what is called to see which of them runs."""
        before = self._calls_in(looked_at)
        groups = self._groups(blocks, repeats=repeats)
        if not groups:
            return before
        name = f"<{kind} {looked_at.lineno}>"
        return [*before, [Node(name, kind, ast.unparse(looked_at) if label is None else label, groups=groups)]]

    def _try(self, statement: ast.Try) -> list[_Stage]:
        handlers = [
            (f"except {ast.unparse(handler.type) if handler.type else ''}".rstrip(), handler.body)
            for handler in statement.handlers
        ]
        tried = [*statement.body, *statement.orelse]
        groups = self._groups([("try", tried), *handlers, ("finally", statement.finalbody)])
        labels = [group.label for group in groups]
        edges = tuple(("try", label) for label in labels if label != "try" and "try" in labels)
        return [[Node(f"<try {statement.lineno}>", "try", groups=groups, edges=edges)]] if groups else []

    def _groups(self, blocks: Sequence[tuple[str, Sequence[ast.stmt]]], *, repeats: bool = False) -> tuple[Group, ...]:
        """Those in which something is called."""
        found = ((label, self.stages(block)) for label, block in blocks)
        return tuple(Group(label, chained(stages), repeats) for label, stages in found if stages)

    def _calls_in(self, code: ast.AST) -> list[_Stage]:
        """What is called in an expression: arguments before what they are given to, `gather`'s side by side."""
        if isinstance(code, ast.Lambda | ast.FunctionDef | ast.AsyncFunctionDef):
            return []
        inside = [self._calls_in(child) for child in ast.iter_child_nodes(code)]
        stages = [stage for found in inside for stage in found]
        if not isinstance(code, ast.Call):
            return stages
        name = self._name(code.func)
        if name.rpartition(".")[2] == "gather" and stages:
            return [[node for stage in stages for node in stage]]
        step = self._step(name, code)
        return [*stages, [step]] if step else stages

    def _name(self, expression: ast.expr) -> str:
        """What is called, by its module and name: `connectors.slack.post_message`."""
        first, *rest = ast.unparse(expression).split(".")
        return ".".join([self._names.get(first, first), *rest])

    def _step(self, name: str, call: ast.Call) -> Node | None:
        module, _, last = name.rpartition(".")
        action = f"{module.rpartition('.')[2]}.{last}"
        if action in self._actions:
            return Node(self._numbered(action), "uses", action)
        if module == "flows" and last in _STEPS:
            return Node(self._numbered(last), last, ast.unparse(call.args[0]) if call.args else "")
        return None

    def _numbered(self, name: str) -> str:
        """The path that a step of this name has, as `flows.engine.calls` numbers it."""
        self._calls[name] += 1
        return name if self._calls[name] == 1 else f"{name}-{self._calls[name]}"
