"""`wait`: for some time, until an instant, for a signal, or for somebody who calls the step's own address.

A wait of more than half a minute, and any wait for somebody, holds nothing: it survives restarts of everything.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, PrivateAttr, Tag, model_validator

from flows.expressions import Expression, is_template
from flows.language.definition import Duration, Json, Model
from flows.language.place import Place
from flows.language.step import Doing, Scope, Step
from foundation.errors import ExpressionError, IpaasError

LONGEST_WAIT: Final = timedelta(days=3_660)
LONGEST_SIGNAL: Final = 200
FOR_TIME, FOR_ANSWER = "<time>", "<answer>"
"""How pydantic names the two forms within the place of a fault; no key is written so."""


class WaitTimeout(IpaasError):
    """Nobody answered in time."""

    code = "timeout"


def _not_for_ever(seconds: float) -> float:
    if seconds > LONGEST_WAIT.total_seconds():
        raise ValueError(f"expected at most {LONGEST_WAIT.days}d, got {seconds / 86_400:g}d")
    return seconds


LongDuration = Annotated[Duration, AfterValidator(_not_for_ever)]


class WaitFor(Model):
    """
    Attributes:
        until: an instant, with expressions: ISO 8601 (without an offset in UTC), or seconds since 1970.
        signal: the signal's name, with expressions.
        callback: the step has an address, `callbacks.ID`, that is called once.
        timeout: seconds for which it waits for a signal or a callback; None: for ever.
        on_timeout: `continue`: its output is null then, and it has not failed.
    """

    until: str | int | float | None = None
    signal: str | None = Field(default=None, min_length=1)
    callback: Literal[True] | None = None
    timeout: LongDuration | None = None
    on_timeout: Literal["fail", "continue"] = "fail"

    @model_validator(mode="after")
    def _for_one_thing(self) -> WaitFor:
        forms = [name for name in ("until", "signal", "callback") if getattr(self, name) is not None]
        if len(forms) != 1:
            raise ValueError("a wait is for one of until, signal and callback, or for a duration, like wait: 20s")
        late = sorted({"timeout", "on_timeout"} & self.model_fields_set)
        if forms == ["until"] and late:
            raise ValueError(f"{', '.join(late)} belongs to signal and callback; an instant comes by itself")
        return self


class Wait(Step):
    """
    Attributes:
        wait: seconds, or what for. The time counts from when the step began, however often the execution begins again.
    """

    kind: ClassVar[str] = "wait"
    decides: ClassVar[bool] = True

    wait: Annotated[
        Annotated[LongDuration, Tag(FOR_TIME)] | Annotated[WaitFor, Tag(FOR_ANSWER)],
        Discriminator(lambda value: FOR_ANSWER if isinstance(value, (dict, WaitFor)) else FOR_TIME),
        BeforeValidator(lambda value: _form(value)),
    ]

    _until: Expression = PrivateAttr()
    _signal: Expression = PrivateAttr()

    @property
    def wants(self) -> str | None:
        return "callback" if isinstance(self.wait, WaitFor) and self.wait.callback else None

    def compile(self, place: Place) -> None:
        super().compile(place)
        if isinstance(self.wait, WaitFor):
            self._until = place.at("wait", "until").value(self.wait.until)
            self._signal = place.at("wait", "signal").value(self.wait.signal)

    def check(self, place: Place) -> None:
        until = self.wait.until if isinstance(self.wait, WaitFor) else None
        if until is not None and not (isinstance(until, str) and is_template(until)):
            try:
                instant(until)
            except ExpressionError as error:
                place.at("wait", "until").fault(str(error))

    def render(self, scope: Scope) -> dict[str, Json]:
        if not isinstance(self.wait, WaitFor):
            return {"seconds": self.wait}
        if self.wait.until is not None:
            return {"until": instant(self._until.render(scope)).isoformat()}
        if self.wait.signal is not None:
            return {"signal": signal_name(self._signal.render(scope))}
        return {"callback": True}

    async def run(self, rendered: dict[str, Any], doing: Doing) -> Json:
        if not isinstance(self.wait, WaitFor):
            await doing.wait("time", seconds=rendered["seconds"])
            return None
        if "until" in rendered:
            await doing.wait("time", until=datetime.fromisoformat(rendered["until"]))
            return None
        kind = "signal" if "signal" in rendered else "callback"
        answer = await doing.wait(kind, seconds=self.wait.timeout, signal=rendered.get("signal"))
        if answer is not None:
            return answer.body
        if self.wait.on_timeout == "continue":
            return None
        what = f"signal {rendered['signal']}" if kind == "signal" else "callback"
        raise WaitTimeout(doing.mask(f"no {what} came within {self.wait.timeout:g} s"))


def instant(value: Any) -> datetime:
    """The instant that is meant. Raises ExpressionError."""
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            found = datetime.fromtimestamp(value, UTC)
        else:
            found = datetime.fromisoformat(value)
            found = found if found.tzinfo else found.replace(tzinfo=UTC)
        return found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        shown = json.dumps(value, default=str)[:80]
        raise ExpressionError(f"expected an instant like 2026-11-24T09:00:00Z, got {shown}") from None


def signal_name(value: Any) -> str:
    """Raises ExpressionError."""
    if not isinstance(value, str) or not value or len(value) > LONGEST_SIGNAL or not value.isprintable():
        shown = json.dumps(value, default=str)[:80]
        raise ExpressionError(f"expected a signal's name, a text of up to {LONGEST_SIGNAL} characters, got {shown}")
    return value


def _form(value: Any) -> Any:
    if (
        isinstance(value, dict)
        and not {"until", "signal", "callback"} & value.keys()
        and not value.keys() - {"timeout", "on_timeout"}
    ):
        raise ValueError("what does it wait for? until, signal or callback; or a duration, like wait: 20s")
    return value
