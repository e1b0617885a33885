"""`try`: a block whose failure is caught, and what runs after it whatever happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from flows.expressions.shapes import NULL, Shape, union
from flows.language.definition import Json
from flows.language.outcomes import StepFailed, Stopped, as_seen
from flows.language.place import FAILURE_NAMES, Place
from flows.language.step import Doing, Inner, Step, ends_always

if TYPE_CHECKING:
    from flows.language.kinds import Block


class Try(Step):
    """
    Attributes:
        catch: what runs when a step of `try` failed, with `error` in scope. None: the failure goes on.
        finally_: what runs at the end, also after a failure or a `stop`.
    """

    kind: ClassVar[str] = "try"
    has_blocks: ClassVar[bool] = True

    try_: Block = Field(alias="try", min_length=1)
    catch: Block | None = None
    finally_: Block = Field(default=(), alias="finally")

    @model_validator(mode="after")
    def _has_an_answer(self) -> Try:
        if self.catch is None and not self.finally_:
            raise ValueError("a try has a catch, a finally, or both; `catch: []` goes on after any failure")
        return self

    def inner(self) -> list[Inner]:
        catch = self.catch or ()
        blocks = [
            Inner(("try",), self.try_),
            Inner(("catch",), catch, names=FAILURE_NAMES, earlier=(self.try_,)),
            Inner(("finally",), self.finally_, earlier=(self.try_, catch)),
        ]
        return [block for block in blocks if block.steps]

    @property
    def always_ends_block(self) -> bool:
        ends = ends_always(self.try_) and (self.catch is None or ends_always(self.catch))
        return self.if_ is None and self.on_error == "fail" and (ends or ends_always(self.finally_))

    def gives(self, place: Place) -> Shape:
        blocks = (self.try_,) if self.catch is None else (self.try_, self.catch)
        return union([NULL, *(place.output_of([step.id for step in steps]) for steps in blocks)])

    async def run(self, rendered: Any, doing: Doing) -> Json:
        try:
            output = await self._tried(doing)
        except (StepFailed, Stopped) as end:
            await self._finally(doing, end)
            raise
        await self._finally(doing)
        return output

    async def _tried(self, doing: Doing) -> Json:
        try:
            return await doing.block(self.try_, doing.scope)
        except StepFailed as failure:
            if self.catch is None:
                raise
            error: Mapping[str, Json] = as_seen(failure.document)
            return await doing.block(self.catch, {**doing.scope, "error": error})

    async def _finally(self, doing: Doing, end: StepFailed | Stopped | None = None) -> None:
        """Runs it; its own failure never hides the one before it."""
        try:
            await doing.block(self.finally_, doing.scope)
        except StepFailed:
            if not isinstance(end, StepFailed):
                raise
