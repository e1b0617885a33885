"""All kinds of steps. A step is of the kind whose key it has."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Discriminator, Tag

from flows.language.ends import Fail, Stop
from flows.language.for_each import ForEach
from flows.language.repeat import Repeat
from flows.language.set_values import SetValues
from flows.language.step import Step
from flows.language.switch import Switch
from flows.language.try_catch import Try
from flows.language.uses import Uses
from flows.language.wait import Wait

KINDS: Final[Mapping[str, type[Step]]] = {
    kind.kind: kind for kind in (Uses, SetValues, ForEach, Repeat, Switch, Try, Wait, Stop, Fail)
}
LATER_KINDS: Final = ("call", "approve", "signal")
"""Further kinds that this version does not know yet."""


def tag(kind: str) -> str:
    """How pydantic names a kind within the place of a fault; no key is written so."""
    return f"<{kind}>"


def kind_of(value: Any) -> str | None:
    """The tag of what a step says, or of a step."""
    if isinstance(value, Step):
        return tag(value.kind)
    found = _kinds_in(value) if isinstance(value, Mapping) else []
    return tag(found[0]) if found else None


def _kinds_in(step: Mapping[str, Any]) -> list[str]:
    found = [kind for kind in KINDS if kind in step]
    return ["for_each"] if set(found) == {"for_each", "uses"} else found


def _check_kind(value: Any) -> Any:
    """Raises ValueError unless it is a step of one kind."""
    if isinstance(value, Step):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("expected a step: a mapping with an id and what it does, like uses: http.request")
    later = [kind for kind in LATER_KINDS if kind in value]
    if later:
        raise ValueError(f"{', '.join(later)}: this version does not know it yet")
    found = _kinds_in(value)
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
    | Annotated[Wait, Tag(tag("wait"))]
    | Annotated[Stop, Tag(tag("stop"))]
    | Annotated[Fail, Tag(tag("fail"))],
    Discriminator(kind_of),
    BeforeValidator(_check_kind),
]
Block = tuple[AnyStep, ...]

for _kind in KINDS.values():
    _kind.model_rebuild(_types_namespace={"Block": Block})
