"""`call`: another workflow, as an execution of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, PrivateAttr

from flows.expressions import Expression
from flows.language.definition import Json, Name
from flows.language.place import Place
from flows.language.step import Doing, Scope, Step
from foundation.errors import IpaasError


class CalledFailed(IpaasError):
    """The called workflow did not succeed; the code is its error's."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # the called workflow's own


class Call(Step):
    """
    Attributes:
        call: the workflow's name.
        with_: its `event.body`, with expressions.
        wait: `false`: the step ends as soon as the called execution is accepted.
    """

    kind: ClassVar[str] = "call"
    decides: ClassVar[bool] = True

    call: Name
    with_: Mapping[str, Json] = Field(default={}, alias="with")
    wait: bool = True

    _body: Expression = PrivateAttr()

    def compile(self, place: Place) -> None:
        super().compile(place)
        self._body = place.at("with").value(self.with_)

    def render(self, scope: Scope) -> dict[str, Json]:
        return {"body": self._body.render(scope)}

    async def run(self, rendered: dict[str, Any], doing: Doing) -> Json:
        execution_id = await doing.start(self.call, rendered["body"], answers=self.wait)
        if not self.wait:
            return {"execution_id": execution_id}
        await doing.wait("call", document={"workflow": self.call, "execution_id": execution_id})
        ended = await doing.ended(execution_id)
        if ended.error is not None or ended.status != "succeeded":
            error = ended.error or {}
            said = error.get("message") or ended.status
            raise CalledFailed(f"{self.call} ({execution_id}) {ended.status}: {said}", error.get("code") or "called")
        return ended.output
