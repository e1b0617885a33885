"""`switch`: one of several blocks, by a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PrivateAttr, field_validator

from flows.expressions import Expression, Placeholder
from flows.expressions.shapes import NULL, Shape, any_of, union
from flows.language.definition import Json
from flows.language.place import Place
from flows.language.step import Doing, Inner, Scope, Step, ends_always

if TYPE_CHECKING:
    from flows.language.kinds import Block


class Switch(Step):
    """
    Attributes:
        switch: a bare expression.
        cases: a block for each value; the keys are compared with the value as text.
        default: what runs when no key is the value.
    """

    kind: ClassVar[str] = "switch"
    has_blocks: ClassVar[bool] = True
    decides: ClassVar[bool] = True

    switch: str
    cases: Mapping[str, Block] = Field(min_length=1)
    default: Block = ()

    _value: Expression = PrivateAttr()

    @field_validator("switch", mode="before")
    @classmethod
    def _an_expression(cls, value: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError(f"expected an expression, like event.body.country, got {value!r}")
        return value

    def inner(self) -> list[Inner]:
        cases = [Inner(("cases", key), steps) for key, steps in self.cases.items() if steps]
        return [*cases, Inner(("default",), self.default)] if self.default else cases

    def compile(self, place: Place) -> None:
        super().compile(place)
        self._value = place.at("switch").expression(self.switch)

    @property
    def always_ends_block(self) -> bool:
        return (
            self.if_ is None
            and self.on_error == "fail"
            and all(ends_always(steps) for steps in (self.default, *self.cases.values()))
        )

    def check(self, place: Place) -> None:
        super().check(place)
        given = place.at("switch").expression_shape(self.switch)
        values = {True, False} if given.kinds == {"boolean"} else given.values
        if values is None:
            return
        written = [_written(value) for value in values]
        for key in self.cases:
            if key not in written:
                place.at("cases", key).fault(f"never runs: {self.switch} is {any_of(sorted(written))}, never {key}")

    def gives(self, place: Place) -> Shape:
        blocks = [place.output_of([step.id for step in steps]) for steps in (*self.cases.values(), self.default)]
        return union([*blocks, NULL])

    def render(self, scope: Scope) -> dict[str, Json]:
        """Which case it is; None: the default."""
        value = self._value.render(scope)
        written = value if isinstance(value, Placeholder) else _written(value)
        return {"case": next((key for key in self.cases if key == written), None)}

    async def run(self, rendered: Mapping[str, Any], doing: Doing) -> Json:
        case = rendered["case"]
        # A version with other cases may go on with what another one decided: then none of them is it.
        steps = self.default if case is None else self.cases.get(case, ())
        return await doing.block(steps, doing.scope)


def _written(value: Json) -> str:
    """A value as the keys of cases are compared with it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
