"""Waits for something outside, as an author's function has them: YAML's `wait`, `approve`, `signal` and `call`."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from datetime import datetime
from typing import Any, Literal, TypedDict

from pydantic import ValidationError

from flows.engine.authors_code import as_json
from flows.engine.calls import Calls, current_calls
from flows.engine.doing import Doing
from flows.language.approve import Approve
from flows.language.call import Call
from flows.language.signal import Signal
from flows.language.step import Step
from flows.language.wait import Wait, instant, signal_name
from foundation.errors import DefinitionError

OnTimeout = Literal["fail", "continue"]


class Decision(TypedDict):
    """How an approval ended. `by` and `at` are None when nobody decided in time."""

    approved: bool
    by: str | None
    at: str | None
    form: Any


async def sleep(
    duration: str | float | None = None, *, until: datetime | str | float | None = None, id: str | None = None
) -> None:
    """Waits for a duration (`20s`, `3d`, or seconds) or until an instant; a long wait holds nothing.

    Args:
        until: a time, ISO 8601, or seconds since 1970.
        id: its path; default: `sleep`, from the second one on with a number.
    """
    if (duration is None) == (until is None):
        raise DefinitionError("sleep: a duration, or until=…")
    if until is None:
        step = _made(Wait, {"wait": duration})
        await _done("sleep", step, {"seconds": step.wait}, id)  # type: ignore[attr-defined]  # it is a `Wait`
    else:
        at = until if isinstance(until, datetime) else instant(until)
        await _done("sleep", _made(Wait, {"wait": {"until": 0}}), {"until": at.isoformat()}, id)


async def signal(
    name: str, *, timeout: str | float | None = None, on_timeout: OnTimeout = "fail", id: str | None = None
) -> Any:
    """Waits for a signal; its body.

    Args:
        timeout: how long; default: for ever.
        on_timeout: "continue": None, when it did not come in time.
        id: its path; default: `signal`, from the second one on with a number.

    Raises:
        ActionError: with the code `timeout`, when it did not come in time.
    """
    wait = {"signal": "-", **_given(timeout=timeout), "on_timeout": on_timeout}
    return await _done("signal", _made(Wait, {"wait": wait}), {"signal": signal_name(name)}, id)


async def send_signal(name: str, body: Any = None, *, id: str | None = None) -> bool:
    """Tells whoever waits for it, or will within a week; whether somebody waited.

    Args:
        id: its path; default: `send_signal`, from the second one on with a number.
    """
    said = {"signal": signal_name(name), "body": as_json(body, "a signal's body")}
    sent: dict[str, bool] = await _done("send_signal", _made(Signal, {"signal": "-"}), said, id)
    return sent["delivered"]


async def call(workflow: str, body: Any = None, *, wait: bool = True, id: str | None = None) -> Any:
    """Runs another workflow; its output, or with `wait=False` at once `{"execution_id": …}`.

    Args:
        body: becomes its `event.body`.
        id: its path; default: `call`, from the second one on with a number.

    Raises:
        ActionError: it did not succeed; with its error's code.
    """
    said = {"body": as_json(body, "what a workflow is called with")}
    return await _done("call", _made(Call, {"call": workflow, "wait": wait}), said, id)


class Asked:
    """A wait for somebody who answers at its address. Awaited, it waits, and gives the answer."""

    def __init__(self, word: str, kind: str, step: Step, said: Mapping[str, Any], id: str | None) -> None:
        self._word, self._kind, self._step, self._said, self._id = word, kind, step, said, id

    @property
    def url(self) -> str:
        """Its address, which can be sent out before it waits. It needs an id for that."""
        if self._id is None:
            raise DefinitionError(f"{self._word}: give it an id to have its address, {self._word}(…, id=…)")
        calls = current_calls(self._word)
        return calls.steps.outside.callback(self._kind, f"{calls.prefix}{self._id}")

    def __await__(self) -> Generator[Any, None, Any]:
        return _done(self._word, self._step, self._said, self._id).__await__()


def callback(*, timeout: str | float | None = None, on_timeout: OnTimeout = "fail", id: str | None = None) -> Asked:
    """A wait for another system that calls back: `paid = callback(id="paid")`, then `paid.url`, then `await paid`.

    Awaited, it gives the body that was sent.

    Args:
        timeout, on_timeout: as of `signal`.
        id: its path; default: `callback`, from the second one on with a number.
    """
    wait = {"callback": True, **_given(timeout=timeout), "on_timeout": on_timeout}
    return Asked("callback", "callback", _made(Wait, {"wait": wait}), {"callback": True}, id)


def approval(
    message: str,
    *,
    form: Mapping[str, Any] | None = None,
    timeout: str | float | None = None,
    on_timeout: Literal["reject", "fail"] = "fail",
    on_reject: OnTimeout = "fail",
    id: str | None = None,
) -> Asked:
    """A person's decision: `await approval("Refund?", timeout="3d")`. Awaited, it gives a `Decision`.

    Args:
        form: a JSON Schema of what who decides fills in.
        timeout: how long; default: for ever.
        on_timeout: "reject": as if somebody had rejected it.
        on_reject: "continue": a rejection is a decision like any other.
        id: its path; default: `approval`, from the second one on with a number. With one, `url` is the address of the
            page where people decide.

    Raises:
        ActionError: when it is awaited; with the code `rejected`, or `timeout`.
    """
    said = {"message": message, **_given(form=form, timeout=timeout), "on_timeout": on_timeout, "on_reject": on_reject}
    return Asked("approval", "approval", _made(Approve, {"approve": said}), {"message": message}, id)


def _given(**keys: Any) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if value is not None}


def _made(kind: type[Step], keys: Mapping[str, Any]) -> Step:
    """A step of YAML's, which checks what it says and knows how it waits."""
    try:
        return kind.model_validate({"id": kind.kind, **keys})
    except ValidationError as invalid:
        fault = invalid.errors(include_url=False)[0]
        said = fault["ctx"]["error"] if "error" in fault.get("ctx", {}) else fault["msg"]
        raise DefinitionError(f"{kind.kind}: {'.'.join(map(str, fault['loc'][-1:]))}: {said}") from None


async def _done(word: str, step: Step, said: Mapping[str, Any], id: str | None) -> Any:
    calls: Calls = current_calls(word)

    async def work(kept: Mapping[str, Any], doing: Doing) -> Any:
        return await step.run({key: value for key, value in kept.items() if key != "call"}, doing)

    return await calls.perform(await calls.place(step.kind, word, dict(said), id=id), work, keep=said)
