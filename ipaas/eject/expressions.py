"""Expressions as Python: plain Python where that gives the same whenever the expression gives something, else `render`.

Where an expression fails because something is missing or of another type, Python may fail in its own words, or not at
all: `event.body["gone"]` is a `KeyError`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from jinja2 import nodes

from flows.expressions import is_template
from flows.expressions.compiler import parse_expression, parse_text
from flows.language.definition import Json
from ipaas.eject.layout import Code, Group, literal, mapping, one_line, quoted

ATTRIBUTES = ("output", "status", "error")


class Inexact(Exception):
    """It is no plain Python."""


Kind = Literal["text", "number", "truth", "any"]


@dataclass(frozen=True)
class Python:
    """
    Attributes:
        rank: how tightly it binds, from 0 (a conditional) to 9 (a name, a call).
    """

    code: str
    kind: Kind = "any"
    rank: int = 9
    parts: Group | None = None
    """The code when it can be broken into lines."""

    @property
    def whole(self) -> Code:
        return self.parts or self.code


@dataclass
class Uses:
    """What a workflow's expressions refer to, whatever of it is written first.

    Attributes:
        steps: of each step that is referred to, which of its attributes are.
        callbacks: the steps whose addresses are.
    """

    steps: dict[str, set[str]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    callbacks: set[str] = field(default_factory=set)

    def note(self, value: Json, *, bare: bool = False) -> None:
        for tree in _trees(value, bare):
            for name, attribute in referred(tree):
                self.steps.setdefault(name, set()).update(ATTRIBUTES if attribute is None else (attribute,))
            self.names |= {node.name for node in _all(tree, nodes.Name)}
            self.callbacks |= set(_addresses(tree))


@dataclass(frozen=True)
class Translator:
    """Expressions at one place of a workflow.

    Attributes:
        names: the code of what is in scope by its name.
        steps: the name of each step's output, status and error, and of what has its address.
        used: gathers the words of `flows` that the code needs.
    """

    workflow: str
    names: Mapping[str, Python]
    steps: Callable[[str, str], str]
    used: set[str]
    quote: str = '"'

    def value(self, value: Json, *, urls: Collection[str] = (), verbatim: Collection[str] = ()) -> Code:
        """Any JSON with expressions in it.

        Args:
            urls, verbatim: keys of the outermost mapping, as `compile_value` has them.
        """
        if not is_template(value):
            return literal(value)
        if isinstance(value, str):
            return self.text(value).whole
        if isinstance(value, Mapping):
            return mapping(
                (quoted(key), self.argument(item, key in urls, key in verbatim)) for key, item in value.items()
            )
        return Group("[", [("", self.value(item)) for item in value], "]")

    def argument(self, value: Json, is_url: bool, is_verbatim: bool) -> Code:
        if is_verbatim or not is_template(value):
            return literal(value)
        if is_url and isinstance(value, str):
            return self._rendered("address", value, parse_text(value)).whole
        return self.value(value)

    def text(self, source: str) -> Python:
        parts = parse_text(source)
        alone = len(parts) == 1 and not isinstance(parts[0], nodes.TemplateData)
        try:
            if alone and source.startswith("{{") and source.endswith("}}"):
                return self._node(parts[0])
            return self._joined(parts)
        except Inexact:
            return self._rendered("render", source, parts)

    def expression(self, source: str | bool) -> Python:
        """A bare one."""
        if not isinstance(source, str):
            return Python(repr(source), "truth")
        tree = parse_expression(source)
        try:
            return self._node(tree)
        except Inexact:
            return self._rendered("render", "{{ " + source.strip() + " }}", [tree])

    def rendered(self, source: str) -> Python:
        """A text in YAML's own words."""
        return self._rendered("render", source, parse_text(source))

    def _rendered(self, word: str, source: str, trees: list[nodes.Expr]) -> Python:
        self.used.add(word)
        steps: dict[str, dict[str, str]] = {}
        for tree in trees:
            for name, attribute in referred(tree):
                for one in ATTRIBUTES if attribute is None else (attribute,):
                    steps.setdefault(name, {})[one] = self.steps(name, one)
        found = {node.name for tree in trees for node in _all(tree, nodes.Name)}
        items: list[tuple[str, Code]] = [("", quoted(source))]
        items += [(f"{name}=", self.names[name].code) for name in sorted(found & self.names.keys())]
        if steps:
            known = [
                (quoted(name), mapping((quoted(key), code) for key, code in parts.items()))
                for name, parts in steps.items()
            ]
            items.append(("steps=", mapping(known)))
        addresses = sorted({one for tree in trees for one in _addresses(tree)})
        if addresses:
            items.append(
                ("callbacks=", mapping((quoted(one), f"{self.steps(one, 'callback')}.url") for one in addresses))
            )
        call = Group(f"{word}(", items, ")")
        return Python(one_line(call), parts=call)

    def _joined(self, parts: list[nodes.Expr]) -> Python:
        inner, written = Translator(self.workflow, self.names, self.steps, self.used, "'"), []
        for part in parts:
            if isinstance(part, nodes.TemplateData):
                written.append(_within(part.data))
                continue
            made = inner._node(part)
            if any(mark in made.code for mark in '"\\#'):
                raise Inexact
            exact = made.kind in ("text", "number")
            if not exact:
                self.used.add("text")
            written.append("{" + (made.code if exact else f"text({made.code})") + "}")
        if self.quote == "'":
            raise Inexact  # a text in a text
        return Python(f'f"{"".join(written)}"', "text")

    def _node(self, node: nodes.Node) -> Python:
        match node:
            case nodes.Const():
                return self._const(node.value)
            case nodes.Name():
                return self._name(node.name)
            case nodes.Getattr():
                return self._lookup(node.node, node.attr)
            case nodes.Getitem(arg=nodes.Slice() as part):
                return self._slice(node.node, part)
            case nodes.Getitem(arg=nodes.Const() as key):
                return self._lookup(node.node, key.value)
            case nodes.Getitem():
                return Python(f"{self._at(node.node, 9)}[{self._node(node.arg).code}]")
            case nodes.CondExpr() if node.expr2 is not None:
                chosen, test, other = (self._at(part, 1) for part in (node.expr1, node.test, node.expr2))
                return Python(f"{chosen} if {test} else {other}", rank=0)
            case nodes.And():
                return Python(f"{self._at(node.left, 2)} and {self._at(node.right, 2)}", rank=2)
            case nodes.Or():
                return Python(f"{self._at(node.left, 1)} or {self._at(node.right, 1)}", rank=1)
            case nodes.Not():
                return Python(f"not {self._at(node.node, 3)}", "truth", 3)
            case nodes.Compare():
                return self._compare(node)
            case nodes.Add() | nodes.Sub():
                return Python(f"{self._at(node.left, 6)} {node.operator} {self._at(node.right, 7)}", rank=6)
            case nodes.Mul() | nodes.Div() | nodes.FloorDiv() | nodes.Mod():
                return Python(f"{self._at(node.left, 7)} {node.operator} {self._at(node.right, 8)}", rank=7)
            case nodes.Neg():
                return Python(f"-{self._at(node.node, 8)}", rank=8)
            case nodes.Concat():
                return self._joined(node.nodes)
            case nodes.List() | nodes.Tuple():
                return Python(f"[{', '.join(self._node(item).code for item in node.items)}]")
            case nodes.Dict():
                pairs = (f"{self._node(pair.key).code}: {self._node(pair.value).code}" for pair in node.items)
                return Python("{" + ", ".join(pairs) + "}")
            case nodes.Filter() if node.node is not None:
                return self._filter(node, node.node)
            case nodes.Test(name="none"):
                return Python(f"{self._at(node.node, 5)} is None", "truth", 4)
            case nodes.Call(node=nodes.Getattr() as target):
                return self._method(node, target)
        raise Inexact

    def _at(self, node: nodes.Node, rank: int) -> str:
        made = self._node(node)
        return made.code if made.rank >= rank else f"({made.code})"

    def _const(self, value: Any) -> Python:
        if isinstance(value, str):
            if self.quote in value and self.quote == "'":
                raise Inexact
            return Python(quoted(value, self.quote), "text")
        kind: Kind = "truth" if isinstance(value, bool) else "number" if isinstance(value, int) else "any"
        return Python(repr(value), kind)

    def _name(self, name: str) -> Python:
        if name in self.names:
            return self.names[name]
        if name == "event":
            return Python("event.document()")
        raise Inexact

    def _key(self, key: Any) -> str:
        return self._const(key).code

    def _lookup(self, base: nodes.Node, key: Any) -> Python:
        if _is_name(base, "event"):
            return self._of_event(key)
        if _is_name(base, "workflow") and key == "name":
            return Python(quoted(self.workflow, self.quote), "text")
        if (step := _step_of(base)) is not None:
            if key not in ATTRIBUTES:
                raise Inexact
            return Python(self.steps(step, key), "text" if key == "status" else "any")
        if _is_name(base, "callbacks") and isinstance(key, str):
            return Python(f"{self.steps(key, 'callback')}.url", "text")
        if _is_name(base, "steps"):
            raise Inexact
        kind: Kind = "text" if _is_name(base, "error") and key in ("message", "code") else "any"
        return Python(f"{self._at(base, 9)}[{self._key(key)}]", kind)

    def _of_event(self, key: Any) -> Python:
        if key in ("body", "headers"):
            return Python(f"event.{key}")
        if key == "id":
            return Python("event.id", "text")
        raise Inexact  # of another type in Python

    def _slice(self, base: nodes.Node, part: nodes.Slice) -> Python:
        start, stop, step = (self._node(one).code if one else "" for one in (part.start, part.stop, part.step))
        if not all(one.lstrip("-").isalnum() or not one for one in (start, stop, step)):
            raise Inexact  # Ruff has rules of its own for the blanks around these colons
        return Python(f"{self._at(base, 9)}[{start}:{stop}{f':{step}' if step else ''}]")

    def _compare(self, node: nodes.Compare) -> Python:
        signs = {
            "eq": "==",
            "ne": "!=",
            "lt": "<",
            "lteq": "<=",
            "gt": ">",
            "gteq": ">=",
            "in": "in",
            "notin": "not in",
        }
        written = self._at(node.expr, 5)
        for operand in node.ops:
            written += f" {signs[operand.op]} {self._at(operand.expr, 5)}"
        return Python(written, "truth", 4)

    def _filter(self, node: nodes.Filter, base: nodes.Expr) -> Python:
        if node.name in ("length", "count") and not node.args:
            return Python(f"len({self._node(base).code})", "number")
        if node.name in ("upper", "lower", "title", "capitalize") and not node.args:
            return Python(f"{self._at(base, 9)}.{node.name}()", "text")
        if node.name == "trim" and not node.args:
            return Python(f"{self._at(base, 9)}.strip()", "text")
        if node.name == "string":
            self.used.add("text")
            return Python(f"text({self._node(base).code})", "text")
        if node.name == "map" and not node.args and [pair.key for pair in node.kwargs] == ["attribute"]:
            path = node.kwargs[0].value
            if isinstance(path, nodes.Const) and isinstance(path.value, str) and path.value.isidentifier():
                return Python(f"[one[{self._key(path.value)}] for one in {self._at(base, 1)}]")
        raise Inexact

    def _method(self, node: nodes.Call, target: nodes.Getattr) -> Python:
        known = {"upper": 0, "lower": 0, "strip": 0, "startswith": 1, "endswith": 1}
        if len(node.args) != known.get(target.attr):
            raise Inexact
        arguments = ", ".join(self._node(argument).code for argument in node.args)
        kind: Kind = "truth" if node.args else "text"
        return Python(f"{self._at(target.node, 9)}.{target.attr}({arguments})", kind)


def _within(data: str) -> str:
    """A literal part of an f-string in double quotes."""
    if '"' in data:
        raise Inexact
    return quoted(data)[1:-1].replace("{", "{{").replace("}", "}}")


def referred(tree: nodes.Node) -> Iterator[tuple[str, str | None]]:
    """The steps that an expression refers to, each with the attribute; None: as a whole."""
    inside = set[int]()
    for node in _all(tree, (nodes.Getattr, nodes.Getitem)):
        if (step := _step_of(node.node)) is not None:
            key = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
            inside.add(id(node.node))
            yield step, key if key in ATTRIBUTES else None
    for node in _all(tree, (nodes.Getattr, nodes.Getitem)):
        if (step := _step_of(node)) is not None and id(node) not in inside:
            yield step, None


def _step_of(node: nodes.Node) -> str | None:
    """`steps.ID`, `steps['ID']`"""
    match node:
        case nodes.Getattr() if _is_name(node.node, "steps"):
            return node.attr
        case nodes.Getitem(arg=nodes.Const() as key) if _is_name(node.node, "steps"):
            return str(key.value)
    return None


def _addresses(tree: nodes.Node) -> Iterator[str]:
    """The steps whose addresses an expression refers to: `callbacks.ID`."""
    for node in _all(tree, (nodes.Getattr, nodes.Getitem)):
        if _is_name(node.node, "callbacks"):
            key = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
            if isinstance(key, str):
                yield key


def _is_name(node: nodes.Node, name: str) -> bool:
    return isinstance(node, nodes.Name) and node.name == name


def _all(tree: nodes.Node, kind: Any) -> Iterator[Any]:
    if isinstance(tree, kind):
        yield tree
    yield from tree.find_all(kind)


def _trees(value: Json, bare: bool) -> Iterator[nodes.Node]:
    if isinstance(value, str):
        yield from [parse_expression(value)] if bare else parse_text(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _trees(item, False)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _trees(item, False)
