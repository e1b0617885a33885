"""What the other keywords of a schema look at, for `unevaluatedProperties` and `unevaluatedItems`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

from flows.language.input_pattern import pattern
from flows.language.input_rules import Rule, fits
from flows.language.input_values import Run

_STEP: Final = 20


class Rules(Protocol):
    """The compiled schemas; `SchemaCompiler` has it."""

    def rule_of(self, schema: Any) -> Rule: ...

    def target_of(self, schema: Mapping[str, Any], keyword: str) -> Any: ...


def _in_place(schema: Mapping[str, Any], value: Any, run: Run, rules: Rules) -> Iterator[Any]:
    """The schemas that look at the same value, and that it fits."""
    for keyword in ("$ref", "$dynamicRef"):
        if keyword in schema:
            yield rules.target_of(schema, keyword)
    if "if" in schema:
        if fits(rules.rule_of(schema["if"]), value, run):
            yield schema["if"]
            yield schema.get("then", True)
        else:
            yield schema.get("else", True)
    for keyword in ("allOf", "oneOf", "anyOf"):
        for part in schema.get(keyword, ()):
            if fits(rules.rule_of(part), value, run):
                yield part


def _keys(schema: Any, value: dict[str, Any], run: Run, rules: Rules) -> set[Any]:
    run.spend(_STEP)
    if isinstance(schema, bool):
        return set()
    found: set[Any] = schema.get("properties", {}).keys() & value.keys()
    for keyword in ("additionalProperties", "unevaluatedProperties"):
        if keyword in schema:
            rule = rules.rule_of(schema[keyword])
            run.spend(len(value))
            found |= {key for key, item in value.items() if fits(rule, item, run)}
    for source in schema.get("patternProperties", ()):
        found |= {key for key in value if pattern(source).found_in(key, run)}
    for key, part in schema.get("dependentSchemas", {}).items():
        if key in value:
            found |= _keys(part, value, run, rules)
    for part in _in_place(schema, value, run, rules):
        found |= _keys(part, value, run, rules)
    return found


def _items(schema: Any, value: list[Any], run: Run, rules: Rules) -> set[Any]:
    run.spend(_STEP)
    if isinstance(schema, bool):
        return set()
    if "items" in schema:
        run.spend(len(value))
        return set(range(len(value)))
    found = set(range(len(schema.get("prefixItems", ()))))
    for keyword in ("contains", "unevaluatedItems"):
        if keyword in schema:
            rule = rules.rule_of(schema[keyword])
            run.spend(len(value))
            found |= {place for place, item in enumerate(value) if fits(rule, item, run)}
    for part in _in_place(schema, value, run, rules):
        found |= _items(part, value, run, rules)
    return found


EVALUATED: Final[Mapping[str, Callable[[Any, Any, Run, Rules], set[Any]]]] = {"keys": _keys, "items": _items}
