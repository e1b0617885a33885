"""What a rule of a schema is, and what a keyword is given to make one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from flows.language.input_pattern import Pattern
from flows.language.input_values import Error, Run

Errors = Sequence[Error]
Rule = Callable[[Any, Run], Errors]
NONE: Final[Errors] = ()


class Node(Protocol):
    """A schema that is being compiled."""

    schema: Mapping[str, Any]

    def rule(self, *path: str | int) -> Rule:
        """The rule of the schema that stands below it at `path`."""
        ...

    def rules(self, keyword: str) -> list[Rule]:
        """The rules of all schemas in a list."""
        ...

    def rules_by_name(self, keyword: str) -> dict[str, Rule]: ...

    def pattern(self, source: str, *path: str | int) -> Pattern: ...

    def target(self, keyword: str) -> Rule:
        """The rule of the schema that a reference leads to."""
        ...

    def evaluated(self, kind: str) -> Callable[[Any, Run], set[Any]]:
        """What finds the keys (`kind` is `keys`) or indexes (`items`) that other keywords look at."""
        ...


def fits(rule: Rule, value: Any, run: Run) -> bool:
    """Whether a value fits; of what does not, one error is enough."""
    most, run.most = run.most, 1
    try:
        return not rule(value, run)
    finally:
        run.most = most


def says(message: str) -> Errors:
    return (Error(message),)


def at(place: str | int, errors: Errors) -> Errors:
    for error in errors:
        error.path.append(place)
    return errors


def gathered(found: Iterable[Errors], run: Run) -> Errors:
    """The errors of one after the other, until there are as many as are wanted."""
    gathered: list[Error] = []
    for errors in found:
        if errors:
            gathered += errors
            if len(gathered) >= run.most:
                break
    return gathered
