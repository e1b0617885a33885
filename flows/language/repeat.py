"""`repeat`: a block, until a condition holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import Field, PrivateAttr, StrictInt, field_validator

from flows.expressions import Expression
from flows.expressions.shapes import INTEGER, Shape
from flows.language.definition import Json, Model
from flows.language.place import Place
from flows.language.step import Doing, Inner, Step, seen_of
from flows.language.wait import LongDuration
from foundation.errors import IpaasError

if TYPE_CHECKING:
    from flows.language.kinds import Block

_NAMES: Final = frozenset({"index"})


class TooManyRounds(IpaasError):
    """A `repeat` reached its limit, and its condition did not hold."""

    code = "limit"


class Rounds(Model):
    """How often.

    Attributes:
        until: a bare expression, looked at after each round; it sees the round's steps.
        every: seconds between a round's end and the next one's beginning.
        limit: rounds.
    """

    until: str | bool
    every: LongDuration = 0.0
    limit: StrictInt = Field(default=100, ge=1, le=100_000)

    @field_validator("until", mode="before")
    @classmethod
    def _text_or_truth(cls, value: Any) -> Any:
        if not isinstance(value, (str, bool)):
            raise ValueError(f"expected an expression, like steps.poll.output.body.done, got {value!r}")
        return value


class Repeat(Step):
    kind: ClassVar[str] = "repeat"
    has_blocks: ClassVar[bool] = True

    repeat: Rounds
    steps: Block = Field(min_length=1)

    _until: Expression = PrivateAttr()

    def inner(self) -> list[Inner]:
        return [Inner(("steps",), self.steps, seen=False, names=_NAMES)]

    def compile(self, place: Place) -> None:
        super().compile(place)
        until = place.at("repeat", "until", names=place.names | _NAMES).alone()
        until = until.seeing((place.steps - {self.id}) | set(seen_of(self.steps)))
        self._until = until.condition(self.repeat.until)
        until.check_steps()
        for reference in until.references.keys() & place.steps:
            place.references.setdefault(reference, until.path)

    def gives(self, place: Place) -> Shape:
        place.knowing({"index": INTEGER}).at("repeat", "until").expression_shape(self.repeat.until)
        return place.output_of([step.id for step in self.steps])

    async def run(self, rendered: Any, doing: Doing) -> Json:
        for number in range(self.repeat.limit):
            if number and self.repeat.every and not doing.has_begun(self.steps, number):
                await doing.wait("time", seconds=self.repeat.every, number=number)
            scope = {**doing.scope, "index": number, "steps": dict(doing.scope["steps"])}
            output = await doing.block(self.steps, scope, number)
            if self._until.render(scope):
                return output
        raise TooManyRounds(f"its until did not hold in {self.repeat.limit} rounds: {self.repeat.until}")
