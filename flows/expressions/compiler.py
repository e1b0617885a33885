"""Jinja2's expression grammar, compiled to closures over JSON.

Jinja2 reads the text; what it means is decided here, node by node, so only what this module knows can happen: there is
no Python attribute access, no call but of the listed methods, no statement and no loop to escape through.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.parser import Parser

from flows.expressions.comparing import COMPARE
from flows.expressions.filters import DEFAULT_FILTERS, FILTERS
from flows.expressions.methods import METHOD_NAMES, call_method
from flows.expressions.predicates import LOOSE_TESTS, TESTS
from flows.expressions.values import (
    MAX_TEXT,
    Missing,
    Placeholder,
    Refused,
    Work,
    arithmetic,
    describe,
    lookup,
    number,
    present,
    text,
    within_bounds,
)
from foundation.nearest import listed, nearest

MAX_SOURCE: Final = 10_000
"""Characters of one expression or one text with expressions."""
MAX_DEPTH: Final = 100
"""How deep operations may be nested."""
OPERATION: Final = 12
"""Units of work that each operation takes, whatever it works on."""

Evaluate = Callable[[Mapping[str, Any], Work], Any]
"""Gives the expression's value in a scope; `Missing` where a path leads nowhere."""

_ENVIRONMENT: Final = Environment(keep_trailing_newline=True)  # noqa: S701 - reads text only, renders nothing

_SIGNS: Final[Mapping[type[nodes.BinExpr], str]] = {
    nodes.Add: "+",
    nodes.Sub: "-",
    nodes.Mul: "*",
    nodes.Div: "/",
    nodes.FloorDiv: "//",
    nodes.Mod: "%",
}
_SEEN_IN: Final = {
    "item": "inside a for_each without `as` only",
    "index": "inside a for_each or repeat only",
    "error": "in catch and on_failure only",
    "output": "in respond only",
}
_STATEMENTS: Final = {
    "block_begin": "{%",
    "raw_begin": "{% raw %}",
    "comment_begin": "{#",
    "linestatement_begin": "{%",
    "linecomment_begin": "{#",
}


def parse_text(source: str) -> list[nodes.Expr]:
    """The parts of a text: `TemplateData` for what is literal, expressions for each `{{ … }}`.

    Raises:
        Refused: a syntax error, a `{% … %}` or a `{# … #}`.
    """
    _check_length(source)
    try:
        for _, kind, _ in _ENVIRONMENT.lexer.tokeniter(source, None):
            if kind in _STATEMENTS:
                written = _STATEMENTS[kind]
                raise Refused(f"{written} is not available here; to write it literally: {{{{ '{written[:2]}' }}}}")
        body = Parser(_ENVIRONMENT, source).parse().body
    except TemplateSyntaxError as error:
        raise Refused(_syntax(error)) from None
    except (ValueError, RecursionError):
        raise Refused("the expression is nested too deeply or holds a number that is too long") from None
    parts = [part for output in body if isinstance(output, nodes.Output) for part in output.nodes]
    _check_depth(parts)
    return parts


def parse_expression(source: str) -> nodes.Expr:
    """The tree of a bare expression.

    Raises:
        Refused: a syntax error.
    """
    _check_length(source)
    if source.lstrip().startswith("{{"):
        raise Refused("a bare expression is expected here: leave out the {{ }}")
    try:
        parser = Parser(_ENVIRONMENT, source, state="variable")
        tree = parser.parse_expression()
        if not parser.stream.eos:
            raise Refused(f"unexpected {parser.stream.current.value!r}")
    except TemplateSyntaxError as error:
        raise Refused(_syntax(error)) from None
    except (ValueError, RecursionError):
        raise Refused("the expression is nested too deeply or holds a number that is too long") from None
    _check_depth([tree])
    return tree


def _check_length(source: str) -> None:
    if len(source) > MAX_SOURCE:
        raise Refused(f"longer than {MAX_SOURCE} characters")


def _check_depth(level: Sequence[nodes.Node]) -> None:
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in node.iter_child_nodes()]
    if level:
        raise Refused(f"nested deeper than {MAX_DEPTH} levels")


def _syntax(error: TemplateSyntaxError) -> str:
    return f"syntax error: {error.message}"


def unknown(kind: str, name: str, known: Collection[str]) -> str:
    """`unknown KIND NAME`, with the nearest known name or all of them."""
    near = nearest(name, known)
    return f"unknown {kind} {name!r}; " + (f"did you mean {near!r}?" if near else f"known: {listed(sorted(known))}")


class Compiler:
    """Compiles trees and collects what they refer to.

    Args:
        names: the names in scope; None when they are only known when it is rendered.
    """

    def __init__(self, names: Collection[str] | None) -> None:
        self.names = names
        self.references: set[str] = set()

    def present(self, node: nodes.Node) -> Evaluate:
        """Compiles `node`; evaluating it raises `Refused` where the value is missing."""
        loose = self.loose(node)
        if isinstance(node, nodes.Const):
            return loose
        return lambda scope, work: present(loose(scope, work))

    def loose(self, node: nodes.Node) -> Evaluate:
        """Compiles `node`; evaluating it may give `Missing`."""
        compile_node = _NODES.get(type(node))
        if compile_node is None:
            raise Refused(f"{_REFUSED.get(type(node), type(node).__name__)} is not available in expressions")
        return _counted(compile_node(self, node))

    def joined(self, parts: list[nodes.Expr]) -> Evaluate:
        """Compiles parts to one text."""
        pieces = [
            _constant(part.data) if isinstance(part, nodes.TemplateData) else self.present(part) for part in parts
        ]

        def join(scope: Mapping[str, Any], work: Work) -> str:
            written, length = [], 0
            for piece in pieces:
                written.append(text(piece(scope, work), work))
                length += len(written[-1])
                if length > MAX_TEXT:
                    break  # what comes next can't make it shorter
            return work.text("".join(written))

        return join

    # One method per kind of node

    def _const(self, node: nodes.Const) -> Evaluate:
        value = node.value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            within_bounds(value)
        return _constant(value)

    def _name(self, node: nodes.Name) -> Evaluate:
        name = node.name
        if self.names is not None and name not in self.names:
            if name == "null":
                raise Refused("unknown name 'null'; write none")
            where = f"; it is there {_SEEN_IN[name]}" if name in _SEEN_IN else ""
            raise Refused(unknown("name", name, self.names) + where)
        if name == "steps" and self.names is not None:
            raise Refused("a step is referred to by its id: steps.ID or steps['ID']")

        def evaluate(scope: Mapping[str, Any], work: Work) -> Any:
            if name in scope:
                return scope[name]
            return Missing(lambda: f"{name} is missing; in scope: {', '.join(sorted(scope))}")

        return evaluate

    def _getattr(self, node: nodes.Getattr) -> Evaluate:
        if node.attr.startswith("_"):
            raise Refused(f".{node.attr} is not allowed; a key that starts with _ is written ['{node.attr}']")
        return self._lookup(node.node, node.attr, node)

    def _getitem(self, node: nodes.Getitem) -> Evaluate:
        if isinstance(node.arg, nodes.Slice):
            return self._slice(node.node, node.arg)
        if isinstance(node.arg, nodes.Const):
            return self._lookup(node.node, node.arg.value, node)
        base, key = self.loose(node.node), self.present(node.arg)
        path, base_path = path_of(node), path_of(node.node)
        return lambda scope, work: lookup(base(scope, work), key(scope, work), path, base_path)

    def _lookup(self, base_node: nodes.Node, key: Any, node: nodes.Node) -> Evaluate:
        path, base_path = path_of(node), path_of(base_node)
        if isinstance(base_node, nodes.Name) and base_node.name == "steps" and self.names and "steps" in self.names:
            return self._step(key, path)
        base = self.loose(base_node)
        return lambda scope, work: lookup(base(scope, work), key, path, base_path)

    def _step(self, key: Any, path: str) -> Evaluate:
        if not isinstance(key, str):
            raise Refused("a step is referred to by its id: steps.ID or steps['ID']")
        self.references.add(key)
        return lambda scope, work: lookup(scope.get("steps", {}), key, path, "steps")

    def _slice(self, base_node: nodes.Node, node: nodes.Slice) -> Evaluate:
        base = self.present(base_node)
        bounds = [self.present(part) if part else _constant(None) for part in (node.start, node.stop, node.step)]

        def evaluate(scope: Mapping[str, Any], work: Work) -> Any:
            value, limits = base(scope, work), [bound(scope, work) for bound in bounds]
            if not isinstance(value, (list, tuple, str)):
                raise Refused(f"{path_of(base_node)} is {describe(value)}; only lists and strings have slices")
            if not all(limit is None or isinstance(limit, int) for limit in limits) or limits[2] == 0:
                raise Refused("a slice needs whole numbers, and a step that is not 0")
            work.spend(len(value) // 8)
            return value[slice(*limits)]

        return evaluate

    def _call(self, node: nodes.Call) -> Evaluate:
        target = node.node
        if not isinstance(target, nodes.Getattr):
            raise Refused(f"unknown function {path_of(target)!r}; only methods of strings and times can be called")
        if target.attr not in METHOD_NAMES and target.attr in FILTERS:
            raise Refused(f"unknown method {target.attr!r}; there is a filter: | {target.attr}")
        if target.attr not in METHOD_NAMES:
            raise Refused(unknown("method", target.attr, METHOD_NAMES))
        if node.kwargs or node.dyn_args or node.dyn_kwargs:
            raise Refused(f"{target.attr}() takes its arguments by position")
        path, name = path_of(target), target.attr
        base, arguments = self.present(target.node), [self.present(argument) for argument in node.args]

        def evaluate(scope: Mapping[str, Any], work: Work) -> Any:
            value = base(scope, work)
            return call_method(work, value, name, [argument(scope, work) for argument in arguments], path)

        return evaluate

    def _filter(self, node: nodes.Filter) -> Evaluate:
        if node.node is None or node.dyn_args or node.dyn_kwargs:
            raise Refused(f"filter {node.name} takes a value, and plain arguments")
        if node.name in DEFAULT_FILTERS:
            return self._default(node)
        if node.name not in FILTERS:
            raise Refused(unknown("filter", node.name, {*FILTERS, *DEFAULT_FILTERS}))
        function = FILTERS[node.name]
        options = {str(pair.key): self.present(pair.value) for pair in node.kwargs}
        _check_arguments(f"filter {node.name}", function, len(node.args), options)
        self._check_inner(node)
        value, arguments = self.present(node.node), [self.present(argument) for argument in node.args]

        def evaluate(scope: Mapping[str, Any], work: Work) -> Any:
            given = value(scope, work)
            if given.__class__ is Placeholder:
                return given
            return function(
                work,
                given,
                *[argument(scope, work) for argument in arguments],
                **{key: option(scope, work) for key, option in options.items()},
            )

        return evaluate

    def _check_inner(self, node: nodes.Filter) -> None:
        """Finds the filter that `map` and the test that `select` apply, which must be known before anything runs."""
        if node.name == "map":
            if not node.args and not any(pair.key == "attribute" for pair in node.kwargs):
                raise Refused("map needs the name of a filter, or attribute=")
            self._inner(node, 0, "filter", FILTERS)
        elif node.name in ("select", "reject"):
            self._inner(node, 0, "test", TESTS)
        elif node.name in ("selectattr", "rejectattr"):
            self._inner(node, 1, "test", TESTS)

    def _inner(self, node: nodes.Filter, index: int, kind: str, known: Mapping[str, Callable[..., Any]]) -> None:
        if any(pair.key in ("name", "test") for pair in node.kwargs):
            raise Refused(f"{node.name} takes the name of its {kind} by position")
        if len(node.args) <= index:
            return
        named = node.args[index]
        if not isinstance(named, nodes.Const) or not isinstance(named.value, str):
            raise Refused(f"{node.name} needs the name of a {kind} in quotes")
        if named.value not in known:
            raise Refused(unknown(kind, named.value, known))
        options = [str(pair.key) for pair in node.kwargs]
        _check_arguments(f"{kind} {named.value}", known[named.value], len(node.args) - index - 1, options)

    def _default(self, node: nodes.Filter) -> Evaluate:
        given = dict(zip(("default_value", "boolean"), node.args, strict=False))
        given |= {str(pair.key): pair.value for pair in node.kwargs}
        if len(node.args) > 2 or given.keys() - {"default_value", "boolean"} or node.node is None:
            raise Refused("default takes a value and, as boolean, whether it also replaces empty values")
        value = self.loose(node.node)
        fallback = self.loose(given.get("default_value", nodes.Const("")))
        also_empty = self.present(given.get("boolean", nodes.Const(False)))

        def evaluate(scope: Mapping[str, Any], work: Work) -> Any:
            found = value(scope, work)
            if found.__class__ is Missing or (not found and also_empty(scope, work)):
                return fallback(scope, work)
            return found

        return evaluate

    def _test(self, node: nodes.Test) -> Evaluate:
        if node.name not in TESTS:
            raise Refused(unknown("test", node.name, TESTS))
        if node.kwargs or node.dyn_args or node.dyn_kwargs:
            raise Refused(f"test {node.name} takes its arguments by position")
        test = TESTS[node.name]
        _check_arguments(f"test {node.name}", test, len(node.args), ())
        value = self.loose(node.node) if node.name in LOOSE_TESTS else self.present(node.node)
        arguments = [self.present(argument) for argument in node.args]
        return lambda scope, work: test(work, value(scope, work), *[argument(scope, work) for argument in arguments])

    def _condition(self, node: nodes.CondExpr) -> Evaluate:
        test, chosen = self.present(node.test), self.loose(node.expr1)
        missing = Missing(lambda: "the condition is false and there is no else")
        other = self.loose(node.expr2) if node.expr2 else _constant(missing)
        return lambda scope, work: chosen(scope, work) if test(scope, work) else other(scope, work)

    def _and(self, node: nodes.And) -> Evaluate:
        left, right = self.present(node.left), self.present(node.right)
        return lambda scope, work: left(scope, work) and right(scope, work)

    def _or(self, node: nodes.Or) -> Evaluate:
        left, right = self.present(node.left), self.present(node.right)
        return lambda scope, work: left(scope, work) or right(scope, work)

    def _not(self, node: nodes.Not) -> Evaluate:
        value = self.present(node.node)
        return lambda scope, work: not value(scope, work)

    def _compare(self, node: nodes.Compare) -> Evaluate:
        first = self.present(node.expr)
        rest = [(COMPARE[operand.op], self.present(operand.expr)) for operand in node.ops]

        def evaluate(scope: Mapping[str, Any], work: Work) -> bool:
            left = first(scope, work)
            for compare, operand in rest:
                right = operand(scope, work)
                if not compare(left, right, work):
                    return False
                left = right
            return True

        return evaluate

    def _arithmetic(self, node: nodes.BinExpr) -> Evaluate:
        sign, left = _SIGNS[type(node)], self.present(node.left)
        self._check_dash(node)
        right = self.present(node.right)
        return lambda scope, work: arithmetic(sign, left(scope, work), right(scope, work), work)

    def _check_dash(self, node: nodes.BinExpr) -> None:
        """`steps.a-b.output` subtracts; its author meant the step `a-b`."""
        step, name = path_of(node.left), path_of(node.right).partition(".")[0]
        if isinstance(node, nodes.Sub) and step.startswith("steps.") and self.names and name not in self.names:
            written = f"{step.removeprefix('steps.')}-{name}"
            if step.count(".") == 1 and written.isascii():  # what path_of can't name is not ASCII
                raise Refused(f"a step whose id has a dash is written steps[{written!r}]")

    def _signed(self, node: nodes.UnaryExpr) -> Evaluate:
        factor, value = -1 if isinstance(node, nodes.Neg) else 1, self.present(node.node)
        return lambda scope, work: within_bounds(factor * number(value(scope, work), "a sign"))

    def _concat(self, node: nodes.Concat) -> Evaluate:
        return self.joined(node.nodes)

    def _sequence(self, node: nodes.List | nodes.Tuple) -> Evaluate:
        items = [self.present(item) for item in node.items]
        return lambda scope, work: [item(scope, work) for item in items]

    def _mapping(self, node: nodes.Dict) -> Evaluate:
        pairs = [(self.present(pair.key), self.present(pair.value)) for pair in node.items]
        return lambda scope, work: {key(scope, work): value(scope, work) for key, value in pairs}


_NODES: Final[Mapping[type[nodes.Node], Callable[[Compiler, Any], Evaluate]]] = {
    nodes.Const: Compiler._const,
    nodes.Name: Compiler._name,
    nodes.Getattr: Compiler._getattr,
    nodes.Getitem: Compiler._getitem,
    nodes.Call: Compiler._call,
    nodes.Filter: Compiler._filter,
    nodes.Test: Compiler._test,
    nodes.CondExpr: Compiler._condition,
    nodes.And: Compiler._and,
    nodes.Or: Compiler._or,
    nodes.Not: Compiler._not,
    nodes.Compare: Compiler._compare,
    nodes.Concat: Compiler._concat,
    nodes.Neg: Compiler._signed,
    nodes.Pos: Compiler._signed,
    nodes.List: Compiler._sequence,
    nodes.Tuple: Compiler._sequence,
    nodes.Dict: Compiler._mapping,
    **dict.fromkeys(_SIGNS, Compiler._arithmetic),
}
"""All there is."""
_REFUSED: Final[Mapping[type[nodes.Node], str]] = {nodes.Pow: "**", nodes.NSRef: "assignment"}


def _counted(evaluate: Evaluate) -> Evaluate:
    def counted(scope: Mapping[str, Any], work: Work) -> Any:
        work.spend(OPERATION)
        return evaluate(scope, work)

    return counted


def _constant(value: Any) -> Evaluate:
    return lambda scope, work: value


def _check_arguments(what: str, function: Callable[..., Any], count: int, options: Collection[str]) -> None:
    try:
        inspect.signature(function).bind(None, None, *[None] * count, **dict.fromkeys(options))
    except TypeError as error:
        raise Refused(f"{what}: {error}") from None


def path_of(node: nodes.Node) -> str:
    """A path as its author wrote it; what is computed in it as `…`."""
    match node:
        case nodes.Name():
            return node.name
        case nodes.Getattr():
            return f"{path_of(node.node)}.{node.attr}"
        case nodes.Getitem(arg=nodes.Const()):
            return f"{path_of(node.node)}[{node.arg.as_const()!r}]"
        case nodes.Getitem():
            return f"{path_of(node.node)}[…]"
        case nodes.Filter() if node.node is not None:
            return f"({path_of(node.node)} | {node.name})"
    return "(…)"
