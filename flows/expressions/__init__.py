"""Expressions: Jinja2's expression language over JSON, hardened, compiled once and rendered many times.

What is in scope is given by whoever renders; every value is JSON, but for `now`, which is a time. The rules:

- A string that is exactly one `{{ … }}` gives the value itself; a text with expressions among other characters gives a
  string, in which strings stand as they are and everything else as JSON writes it: `true`, `null`, `1.5`, `["a"]`.
- A dot or a bracket looks up a key of a mapping or an index of a list, never a method or attribute. A key that starts
  with `_` is written in brackets. A step whose id has a dash is `steps['a-b']`.
- What is missing is an error that names the first missing part, unless `default` or `is defined` handles it.
- In an address (`compile_url`) a value is encoded for its place: see `flows.expressions.urls`.
- Filters, tests and methods are those of `flows.expressions.filters`. Lengths, integers (64 bits) and the work of one
  rendering are bounded. Data is never rendered: only the text that was compiled is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from jinja2 import nodes

from flows.expressions.compiler import MAX_SOURCE, Compiler, Evaluate, parse_expression, parse_text, unknown
from flows.expressions.urls import address_of, hosts_in
from flows.expressions.values import MAX_TEXT, MAX_WORK, Json, Placeholder, Refused, Work, plain
from foundation.errors import ExpressionError

__all__ = [
    "MAX_SOURCE",
    "MAX_TEXT",
    "MAX_WORK",
    "SCOPE",
    "Expression",
    "Placeholder",
    "compile_condition",
    "compile_expression",
    "compile_url",
    "compile_value",
    "is_template",
    "literal_hosts",
    "render_template",
    "strings_in",
    "unknown",
]

SCOPE: Final = frozenset(
    {"event", "steps", "item", "index", "vars", "workflow", "execution", "error", "now", "callbacks"}
)
"""Every name that is in scope somewhere."""


@dataclass(frozen=True, eq=False)
class Expression:
    """Something to render: a value with expressions in it, or a bare expression. Safe to share between threads.

    Attributes:
        references: the ids of the steps it refers to as `steps.ID`.
    """

    references: frozenset[str]
    _evaluate: Evaluate

    def render(self, scope: Mapping[str, Any]) -> Json:
        """The value in this scope: a copy of its own, of JSON types.

        Raises:
            ExpressionError: something is missing, does not fit its operation, or takes too much.
        """
        return self._evaluate(scope, Work())


def compile_value(
    value: Json,
    names: Collection[str] = SCOPE,
    *,
    verbatim: Collection[str] = (),
    urls: Collection[str] = (),
) -> Expression:
    """Compiles every string in `value`, however deep.

    Args:
        names: the names in scope.
        verbatim: keys of the outermost mapping whose values are left as they are.
        urls: keys of the outermost mapping whose values, if they are strings, are addresses: see `compile_url`.

    Raises:
        ExpressionError: the first one with a syntax error, an unknown name, filter or test, or something forbidden.
    """
    known = frozenset(names)
    if not isinstance(value, Mapping):
        return _compile(value, known)
    return _mapping(value, lambda key, item: _part(key, item, known, verbatim, urls))


def compile_url(text: str, names: Collection[str] = SCOPE) -> Expression:
    """Compiles a text that is an address: what stands in it is encoded as its place demands, and can't leave it.

    Rendering it raises for a value that has no form in its place; `flows.expressions.urls` has the rules.

    Raises:
        ExpressionError: see `compile_value`.
    """
    return _text(text, frozenset(names), address_of)


def compile_expression(source: str | bool | int | float | None, names: Collection[str] = SCOPE) -> Expression:
    """Compiles a bare expression. A value that YAML reads as something else than text is itself.

    Raises:
        ExpressionError: a syntax error, an unknown name, filter or test, or something that isn't allowed.
    """
    return _bare(source, frozenset(names)) if isinstance(source, str) else _literal(source)


def compile_condition(source: str | bool, names: Collection[str] = SCOPE) -> Expression:
    """Compiles the bare expression of an `if`; it renders to true or false, by the truth of the value.

    Raises:
        ExpressionError: see `compile_expression`.
    """
    expression = compile_expression(source, names)
    return Expression(expression.references, lambda scope, work: bool(expression._evaluate(scope, work)))


def render_template(source: str, mapping: Mapping[str, Any]) -> Json:
    """Renders a text by the same rules with `mapping` as its scope, whatever the names are.

    Raises:
        ExpressionError: as when compiling or rendering any other value.
    """
    return _text(source, None).render(mapping)


def is_template(value: Json) -> bool:
    """Whether there is an expression in it."""
    return any("{{" in text for _, text in strings_in(value))


def literal_hosts(value: Json) -> frozenset[str]:
    """Every `host:port` that stands as an http or https address in a value as its author writes it.

    In lower case, the scheme's own port written out. Only where it ends in what the author wrote:
    `https://stock.example/{{ x }}` counts; `https://{{ x }}.example/` and `https://stock.example{{ x }}/` don't.
    """
    return frozenset(host for _, text in strings_in(value) for host in hosts_in(text))


def strings_in(value: Json, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every string in a value, with its path; of mappings the values, not the keys."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from strings_in(item, (*path, key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from strings_in(item, (*path, index))


def _part(key: str, item: Json, names: frozenset[str], verbatim: Collection[str], urls: Collection[str]) -> Expression:
    if key in verbatim:
        return _literal(item)
    return compile_url(item, names) if key in urls and isinstance(item, str) else _compile(item, names)


def _mapping(value: Mapping[str, Json], compile_part: Callable[[str, Json], Expression]) -> Expression:
    for key in value:
        if "{{" in key:
            raise ExpressionError(f"keys are not rendered: {_excerpt(key)}")
    parts = {key: compile_part(key, item) for key, item in value.items()}
    return Expression(
        _union(parts.values()),
        lambda scope, work: {key: part._evaluate(scope, work) for key, part in parts.items()},
    )


def _compile(value: Json, names: frozenset[str]) -> Expression:
    if isinstance(value, str):
        return _text(value, names)
    if isinstance(value, Mapping):
        return _mapping(value, lambda key, item: _compile(item, names))
    if isinstance(value, (list, tuple)):
        items = [_compile(item, names) for item in value]
        return Expression(_union(items), lambda scope, work: [item._evaluate(scope, work) for item in items])
    return _literal(value)


def _union(parts: Collection[Expression]) -> frozenset[str]:
    return frozenset().union(*(part.references for part in parts))


def _literal(value: Json) -> Expression:
    return Expression(frozenset(), lambda scope, work: plain(value, work))


Join = Callable[[list[nodes.Expr], Compiler], Evaluate]
"""Compiles the parts of a text to what writes them one behind the other."""


def _mixed(parts: list[nodes.Expr], compiler: Compiler) -> Evaluate:
    return compiler.joined(parts)


@lru_cache(maxsize=4096)
def _text(source: str, names: frozenset[str] | None, join: Join = _mixed) -> Expression:
    if not any(mark in source for mark in ("{{", "{%", "{#")):
        return Expression(frozenset(), lambda scope, work: source)
    compiler = Compiler(names)
    try:
        parts = parse_text(source)
        alone = len(parts) == 1 and not isinstance(parts[0], nodes.TemplateData)
        if alone and source.startswith("{{") and source.endswith("}}"):
            return _located(source, compiler, compiler.present(parts[0]))
        return _located(source, compiler, join(parts, compiler))
    except Refused as problem:
        raise _error(problem, source) from None


@lru_cache(maxsize=4096)
def _bare(source: str, names: frozenset[str]) -> Expression:
    compiler = Compiler(names)
    try:
        return _located(source, compiler, compiler.present(parse_expression(source)), as_found=(Placeholder,))
    except Refused as problem:
        raise _error(problem, source) from None


def _located(source: str, compiler: Compiler, evaluate: Evaluate, *, as_found: tuple[type, ...] = ()) -> Expression:
    """An expression whose errors say where they are and are of the one kind. What is `as_found` is not made plain."""

    def render(scope: Mapping[str, Any], work: Work) -> Json:
        try:
            found = evaluate(scope, work)
            return found if isinstance(found, as_found) else plain(found, work)
        except Refused as problem:
            raise _error(problem, source) from None
        except RecursionError:
            raise _error("the data is nested too deeply", source) from None
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # Python's own message may quote the data, which may be secret.
            raise _error(f"an operation does not fit its values ({type(error).__name__})", source) from None

    return Expression(frozenset(compiler.references), render)


def _error(problem: object, source: str) -> ExpressionError:
    return ExpressionError(f"{problem} (in {_excerpt(source)})")


def _excerpt(source: str) -> str:
    line = " ".join(source.split())
    return line if len(line) <= 120 else f"{line[:117]}…"
