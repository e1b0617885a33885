"""`set`: named values for the steps after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, PrivateAttr

from flows.expressions import Expression
from flows.expressions.shapes import Shape
from flows.language.definition import Json
from flows.language.place import Place
from flows.language.step import Doing, Scope, Step


class SetValues(Step):
    """
    Attributes:
        set_: the values by name, with expressions in them. None of them sees another.
    """

    kind: ClassVar[str] = "set"
    is_instant: ClassVar[bool] = True

    set_: Mapping[str, Json] = Field(alias="set", min_length=1)

    _values: Expression = PrivateAttr()

    def compile(self, place: Place) -> None:
        super().compile(place)
        self._values = place.at("set").value(self.set_)

    def check(self, place: Place) -> None:
        super().check(place)
        place.at("set").shape(self.set_)

    def gives(self, place: Place) -> Shape:
        return place.silent().at("set").shape(self.set_)

    def render(self, scope: Scope) -> Any:
        return self._values.render(scope)

    async def run(self, rendered: Any, doing: Doing) -> Json:
        return doing.mask(rendered)
