"""JSON Schemas compiled to rules: every schema in it once, references tied together, faults noted by their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from flows.language.input_evaluated import EVALUATED
from flows.language.input_keywords import KEYWORDS
from flows.language.input_pattern import Pattern, PatternError, pattern
from flows.language.input_rules import NONE, Errors, Rule
from flows.language.input_values import Error, Run

Path = tuple[str | int, ...]

_LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_BY_NAME: Final = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
_ALONE: Final = (
    "additionalProperties",
    "contains",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_REFERENCES: Final = ("$ref", "$dynamicRef")
_SAME_VALUE: Final = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")
"""The keywords whose schemas look at the value that is looked at already."""
_VISIT: Final = 4
_KEYWORD: Final = 3
"""Units of work."""


class SchemaCompiler:
    """Compiles a schema and all that is below it.

    Attributes:
        faults: what makes a well-formed schema unusable, with where it stands in it.
        rule: the schema's own.
    """

    def __init__(self, schema: Mapping[str, Any] | bool) -> None:
        self.faults: list[tuple[Path, str]] = []
        self._rules: dict[int, Rule] = {}
        self._targets: dict[tuple[int, str], Any] = {}
        self._placed: list[tuple[Path, Mapping[str, Any]]] = []
        self._awaited: list[tuple[Path, Any, Any]] = []
        self._dynamic = any(keyword == "$dynamicRef" for keyword in _names_in(schema))
        self._schema = schema  # the rules are known by the identity of their schemas, which must not go
        resource: Resource[Any] = DRAFT202012.create_resource(schema)
        base = resource.id() or ""
        # It fetches nothing: a schema never makes a request.
        self._compile(schema, (), Registry().with_resource(base, resource).resolver(base))
        while self._awaited:
            self._compile(*self._awaited.pop())
        self.faults += self._circles()
        self.rule = self.rule_of(schema)

    def rule_of(self, schema: Any) -> Rule:
        return _BOOLEANS[schema] if isinstance(schema, bool) else self._rules[id(schema)]

    def target_of(self, schema: Mapping[str, Any], keyword: str) -> Any:
        return self._targets[id(schema), keyword]

    def _compile(self, schema: Any, path: Path, resolver: Any) -> None:
        if not isinstance(schema, Mapping) or id(schema) in self._rules:
            return
        self._rules[id(schema)] = _anything  # until it is known
        self._placed.append((path, schema))
        if path and "$id" in schema:
            if self._dynamic:
                self.faults.append(((*path, "$id"), "a schema with $dynamicRef has no other schemas with an $id in it"))
            resolver = resolver.in_subresource(DRAFT202012.create_resource(schema))
        for keyword in _REFERENCES:
            if keyword in schema:
                self._refer(schema, keyword, path, resolver)
        for below, part in _below(schema):
            self._compile(part, (*path, *below), resolver)
        node = _Node(self, schema, path)
        rules = [KEYWORDS[keyword](node) for keyword in schema if keyword in KEYWORDS]
        cost = _VISIT + _KEYWORD * len(rules) + sum(_length(schema[key]) for key in schema if key in KEYWORDS) // 2
        self._rules[id(schema)] = _together(rules, cost)

    def _refer(self, schema: Mapping[str, Any], keyword: str, path: Path, resolver: Any) -> None:
        reference = schema[keyword]
        target: Any = True
        try:
            found = resolver.lookup(reference)
            target = found.contents
        except (Unresolvable, ValueError):
            self.faults.append(((*path, keyword), f"{reference!r} is not found in this schema"))
        else:
            self._awaited.append(((*path, keyword), target, found.resolver))
            if not isinstance(target, (Mapping, bool)):
                self.faults.append(((*path, keyword), f"{reference!r} leads to something that is no schema"))
                target = True
        self._targets[id(schema), keyword] = target

    def _circles(self) -> Iterator[tuple[Path, str]]:
        """Schemas that lead back to themselves without going into the value: checking would never end."""
        done: set[int] = set()

        def visit(schema: Any, path: Path, above: frozenset[int]) -> Iterator[tuple[Path, str]]:
            if id(schema) in above:
                yield path, "this leads back to itself without going into the value"
            elif isinstance(schema, Mapping) and id(schema) not in done:
                done.add(id(schema))
                for place, part in self._for_the_same_value(schema):
                    yield from visit(part, (*path, *place), above | {id(schema)})

        for path, schema in self._placed:
            yield from visit(schema, path, frozenset())

    def _for_the_same_value(self, schema: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
        for keyword in _REFERENCES:
            if keyword in schema:
                yield (keyword,), self._targets[id(schema), keyword]
        yield from ((place, part) for place, part in _below(schema) if place[0] in _SAME_VALUE)


@dataclass
class _Node:
    compiler: SchemaCompiler
    schema: Mapping[str, Any]
    path: Path

    def rule(self, *path: str | int) -> Rule:
        part: Any = self.schema
        for name in path:
            part = part[name]
        return self.compiler.rule_of(part)

    def rules(self, keyword: str) -> list[Rule]:
        return [self.compiler.rule_of(part) for part in self.schema[keyword]]

    def rules_by_name(self, keyword: str) -> dict[str, Rule]:
        return {name: self.compiler.rule_of(part) for name, part in self.schema[keyword].items()}

    def pattern(self, source: str, *path: str | int) -> Pattern:
        try:
            return pattern(source)
        except PatternError as error:
            fault = ((*self.path, *path), f"this pattern can't be used: {error}")
            if fault not in self.compiler.faults:
                self.compiler.faults.append(fault)
            return _EMPTY

    def target(self, keyword: str) -> Rule:
        compiler, target = self.compiler, self.compiler.target_of(self.schema, keyword)
        return lambda value, run: compiler.rule_of(target)(value, run)  # it may be compiled later

    def evaluated(self, kind: str) -> Callable[[Any, Run], set[Any]]:
        find, compiler, schema = EVALUATED[kind], self.compiler, self.schema
        return lambda value, run: find(schema, value, run, compiler)


def _names_in(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        yield from schema
        for _, part in _below(schema):
            yield from _names_in(part)


def _below(schema: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """The schemas directly in a schema."""
    for keyword, value in schema.items():
        if keyword in _LISTS and isinstance(value, (list, tuple)):
            yield from (((keyword, index), part) for index, part in enumerate(value))
        elif keyword in _BY_NAME and isinstance(value, Mapping):
            yield from (((keyword, name), part) for name, part in value.items())
        elif keyword in _ALONE:
            yield (keyword,), value


def _together(rules: list[Rule], cost: int) -> Rule:
    def check(value: Any, run: Run) -> Errors:
        run.spend(cost)
        found: list[Error] = []
        for rule in rules:
            errors = rule(value, run)
            if errors:
                found += errors
                if len(found) >= run.most:
                    break
        return found

    return check


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (list, Mapping)) else 0


def _anything(value: Any, run: Run) -> Errors:
    run.spend(_VISIT)
    return NONE


def _nothing(value: Any, run: Run) -> Errors:
    run.spend(_VISIT)
    return (Error("is not allowed here"),)


_BOOLEANS: Final[Mapping[bool, Rule]] = {True: _anything, False: _nothing}
_EMPTY: Final = Pattern("")
