"""What an event counts as under its workflow's flow control: evaluated once, when it is accepted."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, cast

from flows.expressions import Expression, compile_expression
from flows.history import Key
from flows.history.records import Rule
from flows.history.rules import declared_rules, rules_of
from flows.language.definition import Declaration
from flows.language.flow_control import MOST_AHEAD, shown_key
from flows.language.place import EVENT_NAMES
from foundation.errors import ExpressionError
from foundation.masking import Masker, process_masker

logger = logging.getLogger("ipaas.engine")

LONGEST_SHOWN: Final = 80
"""Characters of a key that people are shown."""
NOT_FOR_REPLAYS: Final = frozenset({"debounce", "batch"})
"""What a replay is not held to: it is of one event, and runs."""


@dataclass(frozen=True)
class FlowKeys:
    """What an event came to.

    Attributes:
        faults: what could not be evaluated, and counts as an empty key, or as no priority.
    """

    keys: Sequence[Key] = ()
    priority: float = 0.0
    faults: Sequence[str] = ()

    def of_replay(self) -> FlowKeys:
        return FlowKeys([key for key in self.keys if key.rule not in NOT_FOR_REPLAYS], self.priority, self.faults)


@dataclass(frozen=True)
class CompiledKeys:
    """A declaration's keys and priority, compiled. Shared by all its events."""

    rules: Sequence[tuple[Rule, str, Expression | None]]
    priority: Expression | float

    def of(self, event: Mapping[str, Any], masker: Masker = process_masker) -> FlowKeys:
        """
        Args:
            event: as expressions see it.
        """
        faults: list[str] = []
        keys = [self._key(*rule, event, masker, faults) for rule in self.rules]
        return FlowKeys(keys, self._priority(event, faults), faults)

    def _key(
        self,
        rule: Rule,
        of: str,
        expression: Expression | None,
        event: Mapping[str, Any],
        masker: Masker,
        faults: list[str],
    ) -> Key:
        if expression is None:
            return Key.made(rule, of, "")
        try:
            value = expression.render({"event": event})
        except ExpressionError as error:
            faults.append(f"{rule}: key: {error}")
            value = None
        text = "" if value is None else value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        shown = masker.mask(f"{shown_key(of)}={text}").encode(errors="backslashreplace").decode()
        shown = "".join(one if one.isprintable() else " " for one in shown)
        return Key.made(rule, of, text, shown if len(shown) <= LONGEST_SHOWN else f"{shown[: LONGEST_SHOWN - 1]}…")

    def _priority(self, event: Mapping[str, Any], faults: list[str]) -> float:
        if not isinstance(self.priority, Expression):
            return self.priority
        try:
            value = self.priority.render({"event": event})
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
                raise ExpressionError("it came out as no number of seconds")
        except ExpressionError as error:
            faults.append(f"priority: {error}")
            return 0.0
        return float(min(max(value, -MOST_AHEAD), MOST_AHEAD))


def compile_keys(declaration: Declaration) -> CompiledKeys:
    """
    Raises:
        ExpressionError: an expression is faulty; check first.
    """
    document = declared_rules(
        declaration.model_dump(mode="json", include={"concurrency", "throttle", "debounce", "batch"})
    )
    rules = rules_of(document, declaration.limit).keys if document else []
    return CompiledKeys(
        [(cast(Rule, rule), of, compile_expression(of, EVENT_NAMES) if of else None) for rule, of in rules],
        compile_expression(declaration.priority, EVENT_NAMES)
        if isinstance(declaration.priority, str)
        else float(declaration.priority),
    )


@lru_cache(maxsize=1_000)
def _compiled(declaration: str) -> CompiledKeys:
    return compile_keys(Declaration.model_validate_json(declaration))


def flow_keys(declaration: Declaration, event: Mapping[str, Any], masker: Masker = process_masker) -> FlowKeys:
    """`CompiledKeys.of`, compiled when it is first needed. Faults are logged."""
    fields = {"name", "concurrency", "throttle", "debounce", "batch", "priority"}
    found = _compiled(declaration.model_dump_json(include=fields)).of(event, masker)
    for fault in found.faults:
        logger.warning("workflow %s: %s", declaration.name, fault)
    return found
