"""`switch`: one of several blocks, by a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PrivateAttr, field_validator

from flows.expressions import Expression, Placeholder
from flows.language.definition import Json
from flows.language.place import Place
from flows.language.step import Doing, Inner, Scope, Step

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

    def render(self, scope: Scope) -> dict[str, Json]:
        """Which case it is; None: the default."""
        value = self._value.render(scope)
        written = value if isinstance(value, (str, Placeholder)) else json.dumps(value, ensure_ascii=False)
        return {"case": next((key for key in self.cases if key == written), None)}

    async def run(self, rendered: Mapping[str, Any], doing: Doing) -> Json:
        case = rendered["case"]
        # A version with other cases may go on with what another one decided: then none of them is it.
        steps = self.default if case is None else self.cases.get(case, ())
        return await doing.block(steps, doing.scope)
