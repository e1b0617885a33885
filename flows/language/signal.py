"""`signal`: tells a step that waits for it, of whatever execution, that something has happened."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, PrivateAttr

from flows.expressions import Expression
from flows.language.definition import Json
from flows.language.place import Place
from flows.language.step import Doing, Scope, Step
from flows.language.wait import signal_name


class Signal(Step):
    """
    Attributes:
        signal: its name, with expressions.
        body: what the step that waits for it has as its output.
    """

    kind: ClassVar[str] = "signal"
    decides: ClassVar[bool] = True

    signal: str = Field(min_length=1)
    body: Json = None

    _name: Expression = PrivateAttr()
    _body: Expression = PrivateAttr()

    def compile(self, place: Place) -> None:
        super().compile(place)
        self._name = place.at("signal").value(self.signal)
        self._body = place.at("body").value(self.body)

    def render(self, scope: Scope) -> dict[str, Json]:
        return {"signal": signal_name(self._name.render(scope)), "body": self._body.render(scope)}

    async def run(self, rendered: dict[str, Any], doing: Doing) -> Json:
        return {"delivered": await doing.signal(rendered["signal"], rendered["body"])}
