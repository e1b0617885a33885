"""All kinds of steps. A step is of the kind whose key it has."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Discriminator, Tag

from flows.language.approve import Approval, Approve
from flows.language.call import Call
from flows.language.ends import Fail, Stop
from flows.language.for_each import ForEach
from flows.language.repeat import Repeat
from flows.language.set_values import SetValues
from flows.language.signal import Signal
from flows.language.step import Step
from flows.language.switch import Switch
from flows.language.try_catch import Try
from flows.language.uses import Uses
from flows.language.wait import Wait

KINDS: Final[Mapping[str, type[Step]]] = {
    kind.kind: kind for kind in (Uses, SetValues, ForEach, Repeat, Switch, Try, Call, Wait, Approve, Signal, Stop, Fail)
}


_OF_TWO_KEYS: Final = {frozenset({"for_each", "uses"}): ["for_each"], frozenset({"call", "wait"}): ["call"]}
"""A loop may have an action as its body; a call may say whether it waits."""


def tag(kind: str) -> str:
    """How pydantic names a kind within the place of a fault; no key is written so."""
    return f"<{kind}>"


def kind_of(value: Any) -> str | None:
    """The tag of what a step says, or of a step."""
    if isinstance(value, Step):
        return tag(value.kind)
    found = kinds_in(value) if isinstance(value, Mapping) else []
    return tag(found[0]) if found else None


def kinds_in(step: Mapping[str, Any]) -> list[str]:
    """The kinds whose keys a step has; a sound one is of one kind."""
    found = [kind for kind in KINDS if kind in step]
    return _OF_TWO_KEYS.get(frozenset(found), found)


def _check_kind(value: Any) -> Any:
    """Raises ValueError unless it is a step of one kind."""
    if isinstance(value, Step):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("expected a step: a mapping with an id and what it does, like uses: http.request")
    found = kinds_in(value)
    if len(found) > 1:
        raise ValueError(f"{' and '.join(found)}: a step does one thing; make a step of each")
    if not found:
        raise ValueError(_without_kind(value))
    return value


def _without_kind(step: Mapping[str, Any]) -> str:
    known = {field.alias or name for name, field in Step.model_fields.items()}
    for key in step:
        near = difflib.get_close_matches(str(key), KINDS, n=1)
        if key not in known and near:
            return f"unknown key {key!r}; did you mean {near[0]!r}?"
    return f"what does it do? A step has one of {', '.join(KINDS)}"


AnyStep = Annotated[
    Annotated[Uses, Tag(tag("uses"))]
    | Annotated[SetValues, Tag(tag("set"))]
    | Annotated[ForEach, Tag(tag("for_each"))]
    | Annotated[Repeat, Tag(tag("repeat"))]
    | Annotated[Switch, Tag(tag("switch"))]
    | Annotated[Try, Tag(tag("try"))]
    | Annotated[Call, Tag(tag("call"))]
    | Annotated[Wait, Tag(tag("wait"))]
    | Annotated[Approve, Tag(tag("approve"))]
    | Annotated[Signal, Tag(tag("signal"))]
    | Annotated[Stop, Tag(tag("stop"))]
    | Annotated[Fail, Tag(tag("fail"))],
    Discriminator(kind_of),
    BeforeValidator(_check_kind),
]
Block = tuple[AnyStep, ...]

Approval.model_rebuild(_types_namespace={"Block": Block})
for _kind in KINDS.values():
    _kind.model_rebuild(_types_namespace={"Block": Block})
