"""`stop` and `fail`: steps that end the execution, or their block, on purpose."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr

from flows.expressions import Expression
from flows.language.definition import Json, Model
from flows.language.outcomes import Stopped
from flows.language.place import Place
from flows.language.step import Doing, Scope, Step
from foundation.errors import IpaasError

_CODE: Final = re.compile(r"[a-z][a-z0-9_]*")


class FailedOnPurpose(IpaasError):
    """A `fail`; its code is the author's."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # the author's own


def _code(value: str) -> str:
    if not _CODE.fullmatch(value) or len(value) > 64:
        raise ValueError(f"{value!r} is not a code: lowercase letters, digits and underscores, at most 64")
    return value


class StopWith(Model):
    output: Json = None


class Stop(Step):
    """Ends the execution as succeeded, from however deep."""

    kind: ClassVar[str] = "stop"
    is_instant: ClassVar[bool] = True

    stop: Annotated[StopWith, BeforeValidator(lambda value: {} if value is None else value)]

    _output: Expression = PrivateAttr()

    @property
    def always_ends_block(self) -> bool:
        return self.if_ is None

    def compile(self, place: Place) -> None:
        super().compile(place)
        self._output = place.at("stop", "output").value(self.stop.output)

    def check(self, place: Place) -> None:
        super().check(place)
        place.at("stop", "output").shape(self.stop.output)

    def render(self, scope: Scope) -> Json:
        return self._output.render(scope)

    async def run(self, rendered: Json, doing: Doing) -> Json:
        raise Stopped(doing.mask(rendered))


class Fail(Step):
    """Fails.

    Attributes:
        fail: the message, with expressions.
    """

    kind: ClassVar[str] = "fail"
    is_instant: ClassVar[bool] = True

    fail: str = Field(min_length=1)
    code: Annotated[str, AfterValidator(_code)] = "failed"

    _message: Expression = PrivateAttr()

    @property
    def always_ends_block(self) -> bool:
        return self.if_ is None and self.on_error == "fail"

    def compile(self, place: Place) -> None:
        super().compile(place)
        self._message = place.at("fail").value(self.fail)

    def check(self, place: Place) -> None:
        super().check(place)
        place.at("fail").shape(self.fail)

    def render(self, scope: Scope) -> Json:
        return self._message.render(scope)

    async def run(self, rendered: Any, doing: Doing) -> Json:
        raise FailedOnPurpose(doing.mask(rendered if isinstance(rendered, str) else str(rendered)), self.code)
