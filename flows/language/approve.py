"""`approve`: a person decides whether the execution goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from jsonschema import Draft202012Validator, SchemaError
from pydantic import Field, PrivateAttr

from flows.expressions import Expression
from flows.language.definition import Json, Model
from flows.language.place import Place
from flows.language.step import Doing, Inner, Scope, Step
from flows.language.wait import LongDuration, WaitTimeout
from foundation.errors import IpaasError

if TYPE_CHECKING:
    from flows.language.kinds import Block


class Rejected(IpaasError):
    """Somebody decided against it."""

    code = "rejected"


class Approval(Model):
    """
    Attributes:
        message: what is asked, with expressions.
        form: a JSON Schema of what who decides fills in.
        timeout: seconds; None: for ever.
        on_timeout: `reject`: as if somebody had rejected it; `fail`: with `code: timeout`.
        on_reject: `continue`: a rejection is an output like any other.
        notify: runs first, and tells people. `callbacks.ID` is the address of a page where they decide.
    """

    message: str = Field(min_length=1)
    form: Mapping[str, Json] | None = None
    timeout: LongDuration | None = None
    on_timeout: Literal["reject", "fail"] = "fail"
    on_reject: Literal["fail", "continue"] = "fail"
    notify: Block = ()


class Approve(Step):
    kind: ClassVar[str] = "approve"
    has_blocks: ClassVar[bool] = True
    decides: ClassVar[bool] = True

    approve: Approval

    _message: Expression = PrivateAttr()

    @property
    def wants(self) -> str:
        return "approval"

    def inner(self) -> list[Inner]:
        return [Inner(("approve", "notify"), self.approve.notify)] if self.approve.notify else []

    def compile(self, place: Place) -> None:
        super().compile(place)
        self._message = place.at("approve", "message").value(self.approve.message)

    def check(self, place: Place) -> None:
        if self.approve.form is None:
            return
        try:
            Draft202012Validator.check_schema(self.approve.form)
        except SchemaError as error:
            place.at("approve", "form", *error.absolute_path).fault(f"not a JSON Schema: {error.message}")

    def render(self, scope: Scope) -> dict[str, Json]:
        message = self._message.render(scope)
        return {"message": message if isinstance(message, str) else str(message)}

    async def run(self, rendered: dict[str, Any], doing: Doing) -> Json:
        await doing.block(self.approve.notify, doing.scope)
        form = dict(self.approve.form) if self.approve.form else None
        asked = {"message": rendered["message"], "form": form}
        answer = await doing.wait("approval", seconds=self.approve.timeout, document=asked)
        if answer is None:
            late = f"nobody decided within {self.approve.timeout:g} s"
            if self.approve.on_timeout == "fail":
                raise WaitTimeout(late)
            return self._decided({"approved": False, "by": None, "at": None, "form": None}, late)
        decided = {"by": answer.by, "at": answer.at.isoformat(), "form": answer.body.get("form")}
        rejected = f"rejected by {answer.by}" if answer.by else "rejected"
        return self._decided({"approved": answer.body["approved"], **decided}, rejected)

    def _decided(self, output: dict[str, Json], rejected: str) -> Json:
        if not output["approved"] and self.approve.on_reject == "fail":
            raise Rejected(rejected)
        return output
