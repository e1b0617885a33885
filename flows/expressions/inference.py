"""What an expression gives, and what in it can't be: worked out from the shapes of the names that it sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from jinja2 import nodes

from flows.expressions.compiler import parse_expression, parse_text, path_of
from flows.expressions.filters import DEFAULT_FILTERS
from flows.expressions.shapes import (
    ANYTHING,
    BOOLEAN,
    INTEGER,
    NUMBER,
    NUMBERS,
    STRING,
    Shape,
    is_scalar,
    list_of,
    literal,
    mapping,
    union,
    unlike,
)
from flows.expressions.values import Refused
from foundation.nearest import listed, nearest

_GIVES: Final[Mapping[str, Shape]] = {
    **dict.fromkeys(
        ("upper", "lower", "title", "capitalize", "escape", "e", "trim", "strip", "lstrip", "rstrip"), STRING
    ),
    **dict.fromkeys(("replace", "truncate", "urlencode", "safe_url", "string", "join", "tojson", "b64encode"), STRING),
    **dict.fromkeys(("b64decode", "sha256", "date", "isoformat", "strftime"), STRING),
    **dict.fromkeys(("length", "count", "int", "weekday"), INTEGER),
    **dict.fromkeys(("float", "round", "abs", "timestamp"), NUMBER),
    **dict.fromkeys(("split", "list", "map", "items", "keys", "values"), list_of(None)),
    **dict.fromkeys(("startswith", "endswith"), BOOLEAN),
}
"""What filters and methods give, whatever they are given. `int` and `float` may have any default: see `_filter`."""
_KEEPS: Final = frozenset({"sort", "reverse", "unique", "select", "reject", "selectattr", "rejectattr"})
"""Filters that give some of a list's items."""


def text_shape(source: str, scope: Mapping[str, Shape]) -> tuple[Shape, list[str]]:
    """What a text with expressions gives, and what is wrong in it; a syntax error is not."""
    try:
        parts = parse_text(source)
    except Refused:
        return ANYTHING, []
    inference = _Inference(scope, parts)
    shapes = [inference.of(part) for part in parts if not isinstance(part, nodes.TemplateData)]
    alone = len(parts) == 1 and len(shapes) == 1 and source.startswith("{{") and source.endswith("}}")
    return shapes[0] if alone else STRING, inference.faults


def expression_shape(source: str, scope: Mapping[str, Shape]) -> tuple[Shape, list[str]]:
    """The same of a bare expression."""
    try:
        tree = parse_expression(source)
    except Refused:
        return ANYTHING, []
    inference = _Inference(scope, [tree])
    return inference.of(tree), inference.faults


class _Inference:
    def __init__(self, scope: Mapping[str, Shape], trees: list[nodes.Expr]) -> None:
        self._scope = scope
        self.faults: list[str] = []
        # Who asks whether something is there knows that it may not be, wherever else it stands.
        self._asks = any(
            test.name in ("defined", "undefined")
            for tree in trees
            for test in [tree, *tree.find_all(nodes.Test)]
            if isinstance(test, nodes.Test)
        )

    def of(self, node: nodes.Node, *, loose: bool = False) -> Shape:
        """What the node gives.

        Args:
            loose: something is done about it when it is missing.
        """
        infer = _INFER.get(type(node))
        if infer is not None:
            return infer(self, node, loose)
        for child in node.iter_child_nodes():
            self.of(child)
        return ANYTHING

    def _const(self, node: nodes.Const, loose: bool) -> Shape:
        return literal(node.value)

    def _name(self, node: nodes.Name, loose: bool) -> Shape:
        return self._scope.get(node.name, ANYTHING)

    def _getattr(self, node: nodes.Getattr, loose: bool) -> Shape:
        return self._lookup(node, node.attr, loose)

    def _getitem(self, node: nodes.Getitem, loose: bool) -> Shape:
        if isinstance(node.arg, nodes.Const):
            return self._lookup(node, node.arg.value, loose)
        base = self.of(node.node, loose=loose)
        self.of(node.arg)
        return base if isinstance(node.arg, nodes.Slice) else ANYTHING

    def _lookup(self, node: nodes.Getattr | nodes.Getitem, key: Any, loose: bool) -> Shape:
        base, path = self.of(node.node, loose=loose), path_of(node.node)
        if isinstance(key, str) and "mapping" in base.kinds:
            if key not in base.keys and base.closed and base.kinds == {"mapping"} and not (loose or self._asks):
                near = nearest(key, base.keys)
                known = f"did you mean {near!r}?" if near else f"it has {listed(base.keys) or 'nothing'}"
                self.faults.append(f"{path} has no {key!r}; {known}")
            return base.key(key)
        if isinstance(key, int) and "list" in base.kinds:
            return base.items or ANYTHING
        if is_scalar(base) and not (isinstance(key, int) and "string" in base.kinds) and not (loose or self._asks):
            self.faults.append(f"{path} is {base if base.values is None else Shape(base.kinds)}, which has no {key!r}")
        return ANYTHING

    def _filter(self, node: nodes.Filter, loose: bool) -> Shape:
        arguments = [*node.args, *(pair.value for pair in node.kwargs)]
        if node.node is None:
            return ANYTHING
        if node.name in DEFAULT_FILTERS:
            return union([self.of(node.node, loose=True), *(self.of(one) for one in arguments[:1])])
        value, others = self.of(node.node), [self.of(one) for one in arguments]
        if node.name in ("first", "last"):
            return value.items or ANYTHING
        if node.name in _KEEPS and value.kinds == {"list"}:
            return value
        if node.name in ("int", "float") and others:
            return union([NUMBER, *others])
        return _GIVES.get(node.name, ANYTHING)

    def _call(self, node: nodes.Call, loose: bool) -> Shape:
        for argument in node.args:
            self.of(argument)
        if not isinstance(node.node, nodes.Getattr):
            return ANYTHING
        self.of(node.node.node)
        return _GIVES.get(node.node.attr, ANYTHING)

    def _test(self, node: nodes.Test, loose: bool) -> Shape:
        self.of(node.node, loose=True)
        for argument in node.args:
            self.of(argument)
        return BOOLEAN

    def _compare(self, node: nodes.Compare, loose: bool) -> Shape:
        left, operand = node.expr, self.of(node.expr)
        for comparison in node.ops:
            right = self.of(comparison.expr)
            if comparison.op in ("eq", "ne"):
                self._check_equal(left, operand, comparison.expr, right)
                self._check_equal(comparison.expr, right, left, operand)
            left, operand = comparison.expr, right
        return BOOLEAN

    def _check_equal(self, one: nodes.Node, shape: Shape, other: nodes.Node, given: Shape) -> None:
        """A value that is one of a few is compared with what it never is."""
        if isinstance(one, nodes.Const) or not isinstance(other, nodes.Const) or not unlike(shape, other.value):
            return
        near = nearest(str(other.value), [str(value) for value in shape.values or ()])
        hint = f"did you mean {near!r}?" if near else f"it is {shape}"
        self.faults.append(f"{path_of(one)} is never {other.value!r}; {hint}")

    def _condition(self, node: nodes.CondExpr, loose: bool) -> Shape:
        self.of(node.test)
        branches = [self.of(node.expr1, loose=loose)]
        return union([*branches, self.of(node.expr2, loose=loose)]) if node.expr2 else branches[0]

    def _logic(self, node: nodes.BinExpr, loose: bool) -> Shape:
        return union([self.of(node.left), self.of(node.right)])

    def _not(self, node: nodes.Not, loose: bool) -> Shape:
        self.of(node.node)
        return BOOLEAN

    def _add(self, node: nodes.Add, loose: bool) -> Shape:
        left, right = self.of(node.left), self.of(node.right)
        if left.kinds <= NUMBERS and right.kinds <= NUMBERS:
            return NUMBER
        if left.kinds == right.kinds == {"list"}:
            return list_of(union([left.items or ANYTHING, right.items or ANYTHING]))
        return STRING if left.kinds == right.kinds == {"string"} else ANYTHING

    def _arithmetic(self, node: nodes.BinExpr, loose: bool) -> Shape:
        self.of(node.left), self.of(node.right)
        return NUMBER

    def _signed(self, node: nodes.UnaryExpr, loose: bool) -> Shape:
        given = self.of(node.node)
        if isinstance(node, nodes.Neg) and isinstance(node.node, nodes.Const) and given.kinds <= NUMBERS:
            return literal(-node.node.value)
        return replace(given, values=None) if given.kinds <= NUMBERS else NUMBER

    def _concat(self, node: nodes.Concat, loose: bool) -> Shape:
        for part in node.nodes:
            self.of(part)
        return STRING

    def _sequence(self, node: nodes.List | nodes.Tuple, loose: bool) -> Shape:
        return list_of(union(self.of(item) for item in node.items))

    def _mapping(self, node: nodes.Dict, loose: bool) -> Shape:
        keys = {pair.key.value: self.of(pair.value) for pair in node.items if isinstance(pair.key, nodes.Const)}
        return mapping(keys, closed=len(keys) == len(node.items))


_INFER: Final[Mapping[type[nodes.Node], Callable[[_Inference, Any, bool], Shape]]] = {
    nodes.Const: _Inference._const,
    nodes.Name: _Inference._name,
    nodes.Getattr: _Inference._getattr,
    nodes.Getitem: _Inference._getitem,
    nodes.Filter: _Inference._filter,
    nodes.Call: _Inference._call,
    nodes.Test: _Inference._test,
    nodes.Compare: _Inference._compare,
    nodes.CondExpr: _Inference._condition,
    nodes.And: _Inference._logic,
    nodes.Or: _Inference._logic,
    nodes.Not: _Inference._not,
    nodes.Add: _Inference._add,
    **dict.fromkeys((nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod), _Inference._arithmetic),
    nodes.Neg: _Inference._signed,
    nodes.Pos: _Inference._signed,
    nodes.Concat: _Inference._concat,
    nodes.List: _Inference._sequence,
    nodes.Tuple: _Inference._sequence,
    nodes.Dict: _Inference._mapping,
}
