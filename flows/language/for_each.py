"""`for_each`: a block, or one action, for each item of a list."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, StrictInt, field_validator, model_validator

from flows.expressions import SCOPE, Expression, Placeholder
from flows.expressions.shapes import ANYTHING, INTEGER, NULL, Shape, list_of, mapping, misfit, union
from flows.expressions.values import describe
from flows.language.definition import Json, Name, Timeout
from flows.language.outcomes import StepFailed, as_seen, raise_first
from flows.language.place import ERROR, Place
from flows.language.step import Doing, Inner, Progress, Scope, Step
from flows.language.uses import Retry, Uses
from foundation.errors import ExpressionError

if TYPE_CHECKING:
    from flows.language.kinds import Block

MOST_TASKS: Final = 100
"""Items up to which each item's actions are tasks of their own; a longer loop is one task."""
ROUND: Final = "each"
"""What the history says of a round that is a call of a Python function."""
_BREATH: Final = 50
"""Items after which others get their turn, should none of the items have had to wait for anything."""
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TAKEN: Final = (SCOPE - {"item"}) | {"output", "true", "false", "none", "not", "and", "or", "in", "is", "if", "else"}


def _item_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"{value!r} is not a name for the item: a letter, then letters, digits and underscores")
    if value in _TAKEN:
        raise ValueError(f"{value!r} means something else in expressions")
    return value


def _tolerated(value: Any) -> Any:
    """A number of items, or `5%`."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{1,3}(\.\d+)?%", value) and float(value[:-1]) <= 100:
        return value
    raise ValueError(f"expected a number of items, or a part of them like 5%, got {value!r}")


class ForEach(Step):
    """
    Attributes:
        for_each: a bare expression that gives a list, or a list.
        steps: what is done for each item; or `uses`, with the keys that belong to it.
        as_: the item's name in expressions; `index`, from 0, is beside it.
        concurrency: how many items are worked on at the same time.
        collect: keep the outputs.
        tolerate: so many failed items do not fail the step.
        on_error: `continue`: no number of failed items fails it.
    """

    kind: ClassVar[str] = "for_each"
    has_blocks: ClassVar[bool] = True
    decides: ClassVar[bool] = True

    for_each: str | tuple[Json, ...]
    as_: Annotated[str, AfterValidator(_item_name)] = Field(default="item", alias="as")
    steps: Block = ()
    concurrency: StrictInt = Field(default=1, ge=1, le=1_000)
    collect: bool = True
    tolerate: Annotated[int | str, BeforeValidator(_tolerated)] = 0

    uses: str | None = None
    with_: Mapping[str, Json] = Field(default={}, alias="with")
    credential: Name | None = None
    retry: Retry | None = None
    timeout: Timeout | None = None

    _list: Expression = PrivateAttr()
    _action: Uses | None = PrivateAttr(default=None)

    @field_validator("for_each", mode="before")
    @classmethod
    def _an_expression(cls, value: Any) -> Any:
        if not isinstance(value, (str, list, tuple)):
            raise ValueError(f"expected an expression that gives a list, like event.body.items, got {value!r}")
        return value

    @model_validator(mode="after")
    def _one_body(self) -> ForEach:
        of_action = {"with", "credential", "retry", "timeout"} & {
            type(self).model_fields[name].alias or name for name in self.model_fields_set
        }
        if self.uses is None and not self.steps:
            raise ValueError("what is done for each item? steps: […], or uses: ACTION")
        if self.uses is not None and self.steps:
            raise ValueError("steps and uses: a loop has one of them")
        if self.uses is None and of_action:
            raise ValueError(f"{', '.join(sorted(of_action))} belongs to uses; this loop has steps")
        return self

    def model_post_init(self, context: Any) -> None:
        super().model_post_init(context)
        if self.uses is not None:
            own = {name: getattr(self, name) for name in ("credential", "retry", "timeout")}
            self._action = Uses.model_validate({"id": self.id, "uses": self.uses, "with": self.with_, **own})

    @property
    def actions(self) -> tuple[str, ...]:
        return self._action.actions if self._action else ()

    def inner(self) -> list[Inner]:
        return [Inner(("steps",), self.steps, seen=False, names=self._names)] if self.steps else []

    @property
    def _names(self) -> frozenset[str]:
        return frozenset({self.as_, "index"})

    def compile(self, place: Place) -> None:
        super().compile(place)
        listed = place.at("for_each")
        self._list = listed.expression(self.for_each) if isinstance(self.for_each, str) else listed.value(self.for_each)
        if self._action:
            self._action.compile(place.at(names=place.names | self._names))

    def summary(self) -> str:
        listed = self.for_each if isinstance(self.for_each, str) else f"{len(self.for_each)} items"
        return f"{self.as_} of {listed}{f': {self.uses}' if self.uses else ''}"

    def check(self, place: Place) -> None:
        super().check(place)
        listed = place.at("for_each")
        fault = misfit(listed.expression_shape(self.for_each), list_of(None))
        if fault is not None:
            listed.fault(f"a loop goes through a list: {fault}")
        if self._action:
            self._action.check(place.knowing(self.known_inside(place)))

    def known_inside(self, place: Place) -> Mapping[str, Shape]:
        return {self.as_: place.silent().expression_shape(self.for_each).items or ANYTHING, "index": INTEGER}

    def gives(self, place: Place) -> Shape:
        if not self.collect:
            return NULL
        output = self._action.gives(place) if self._action else place.output_of([step.id for step in self.steps])
        may_fail = self.on_error == "continue" or bool(self.tolerate)
        return list_of(union([output, mapping({"error": ERROR})]) if may_fail else output)

    def render(self, scope: Scope) -> dict[str, Json]:
        found = self._list.render(scope)
        if isinstance(found, Placeholder):
            found = [found[0]]
        if not isinstance(found, list):
            hint = "; its items are a list by the filter | items" if isinstance(found, Mapping) else ""
            raise ExpressionError(
                f"for_each goes through a list, and this is {describe(found)}{hint} ({self.for_each})"
            )
        return {"items": found}

    async def run(self, rendered: Mapping[str, Any], doing: Doing) -> Json:
        rounds = LoopRounds(self, rendered["items"])
        if len(rounds.items) > MOST_TASKS:
            await doing.as_one(rounds.run, rounds.progress)
        else:
            await rounds.run(doing)
        return rounds.outputs

    def may_fail(self, count: int, of: int) -> bool:
        """Whether the step goes on when so many of its items have failed."""
        if self.on_error == "continue":
            return True
        if isinstance(self.tolerate, str):
            return count <= of * float(self.tolerate[:-1]) / 100
        return count <= self.tolerate

    async def once(self, scope: Scope, number: int, doing: Doing) -> Json:
        """Does it for one item, which is in the scope already."""
        if self._action:
            return await doing.one(self._action, scope, number)
        return await doing.block(self.steps, scope, number)


@dataclass
class LoopRounds:
    """One run of a loop: a few workers that take one item after the other, not a task for each."""

    loop: ForEach
    items: Sequence[Any]
    outputs: list[Json] | None = field(init=False)
    done: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)

    def progress(self) -> Progress:
        return Progress(self.done, len(self.items), self.failed)

    def __post_init__(self) -> None:
        self.outputs = [None] * len(self.items) if self.loop.collect else None

    async def run(self, doing: Doing) -> None:
        left = iter(range(len(self.items)))
        workers = min(self.loop.concurrency, len(self.items))
        if workers <= 1:
            await self._work(left, doing)
            return
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._work(left, doing))
        except BaseExceptionGroup as errors:
            raise_first(errors)

    async def _work(self, left: Iterator[int], doing: Doing) -> None:
        for number in left:
            output = await self._one(number, doing)
            self.done += 1
            if self.outputs is not None:
                self.outputs[number] = output
            if number % _BREATH == 0:
                await asyncio.sleep(0)

    async def _one(self, number: int, doing: Doing) -> Json:
        scope = dict(doing.scope)
        scope |= {self.loop.as_: self.items[number], "index": number, "steps": dict(scope["steps"])}
        try:
            return await self.loop.once(scope, number, doing)
        except StepFailed as failure:
            self.failed += 1
            if not self.loop.may_fail(self.failed, len(self.items)):
                raise
            return {"error": as_seen(failure.document)}
