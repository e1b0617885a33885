"""Waits for something outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from executing import block, steps
from executing import post as posts
from executing import step as kind
from scenario import post

from flows import Event, approval, call, callback, send_signal, signal, sleep, workflow
from flows.on_prefect.flow import WorkflowFlow
from foundation.errors import IpaasError


@dataclass(frozen=True)
class Waiting:
    """
    Attributes:
        answers: what comes after each run of the execution that ends waiting: the path of the step or `signal:NAME`,
            and the body; or hours that pass.
        requests: path and body of each; `URL` is the step's address.
    """

    name: str
    yaml: str
    answers: Sequence[tuple[str, Any] | int]
    requests: Sequence[tuple[str, Any]]
    output: Any = None
    error: str | None = None
    body: Any = None
    python: WorkflowFlow | None = None


@workflow()
async def paid(event: Event) -> Any:
    await post("/a")
    paid = await signal(f"paid-{event.body}", timeout="3d", id="paid")
    return paid["amount"]


@workflow()
async def late(event: Event) -> Any:
    await signal("never", timeout="1h", on_timeout="continue", id="w")
    try:
        await signal("never", timeout="1h", id="x")
    except IpaasError as error:
        return await post("/late", error.code)


@workflow()
async def called_back(event: Event) -> Any:
    waits = callback(id="done", timeout="3d")
    await post("/start", waits.url)
    return await waits


@workflow()
async def asks(event: Event) -> Any:
    ask = approval(f"Refund {event.body}?", timeout="3d", id="ask")
    await post("/tell", ask.url)
    decided = await ask
    return [decided["approved"], decided["form"]]


@workflow()
async def sleeps(event: Event) -> Any:
    await sleep("2h", id="one")
    await sleep(until=event.body, id="two")
    return await post("/z", 1)


@workflow()
async def tells(event: Event) -> Any:
    return await send_signal("hello", {"n": event.body}, id="tell")


@workflow()
async def calls(event: Event) -> Any:
    return await call("other", {"x": event.body}, id="sub")


FOR_SIGNAL = steps(
    posts("/a"),
    kind("paid", wait={"signal": "paid-{{ event.body }}", "timeout": "3d"}),
    output="'{{ steps.paid.output.amount }}'",
)
FOR_DECISION = steps(
    kind(
        "ask",
        approve={
            "message": "Refund {{ event.body }}?",
            "timeout": "3d",
            "notify": block(posts("/tell", "{{ callbacks.ask }}")),
        },
    ),
    output="'{{ [steps.ask.output.approved, steps.ask.output.form] }}'",
)

WAITING = [
    Waiting("signal", FOR_SIGNAL, [("signal:paid-7", {"amount": 5})], [("/a", None)], 5, None, 7, paid),
    Waiting("a signal too late", FOR_SIGNAL, [73], [("/a", None)], None, "timeout", 7, paid),
    Waiting(
        "signals that do not come",
        steps(
            kind("w", wait={"signal": "never", "timeout": "1h", "on_timeout": "continue"}),
            kind(
                "guard",
                try_=block(kind("x", wait={"signal": "never", "timeout": "1h"})),
                catch=block(posts("/late", "{{ error.code }}")),
            ),
            output="'{{ steps.guard.output.body.got }}'",
        ),
        [1, 1],
        [("/late", "timeout")],
        "timeout",
        python=late,
    ),
    Waiting(
        "callback",
        steps(
            posts("/start", "{{ callbacks.done }}"),
            kind("done", wait={"callback": True, "timeout": "3d"}),
            output="'{{ steps.done.output }}'",
        ),
        [("done", {"ok": 1})],
        [("/start", "URL")],
        {"ok": 1},
        python=called_back,
    ),
    Waiting(
        "callbacks in rounds",
        steps(
            kind(
                "lines",
                for_each="event.body",
                steps=block(
                    posts("/start", "call {{ callbacks.done }}"),
                    kind("done", wait={"callback": True}),
                    posts("/end", "{{ steps.done.output }}"),
                ),
            )
        ),
        [("lines[0].done", "one"), ("lines[1].done", "two")],
        [("/start", "call URL"), ("/end", "one"), ("/start", "call URL"), ("/end", "two")],
        body=[1, 2],
    ),
    Waiting(
        "approval",
        FOR_DECISION,
        [("ask", {"approved": True, "form": {"n": 1}})],
        [("/tell", "URL")],
        [True, {"n": 1}],
        python=asks,
    ),
    Waiting(
        "rejection", FOR_DECISION, [("ask", {"approved": False})], [("/tell", "URL")], None, "rejected", python=asks
    ),
    Waiting(
        "a rejection that is borne",
        steps(
            kind("ask", approve={"message": "Go?", "form": {"type": "object"}, "on_reject": "continue"}),
            output="'{{ steps.ask.output.approved }}'",
        ),
        [("ask", {"approved": False})],
        [],
        False,
    ),
    Waiting(
        "time",
        steps(
            kind("one", wait="2h"),
            kind("two", wait={"until": "{{ event.body }}"}),
            posts("/z", 1),
            output="'{{ steps.z.output.body.got }}'",
        ),
        [2, 2],
        [("/z", 1)],
        1,
        body="2026-01-01T04:00:00Z",
        python=sleeps,
    ),
    Waiting(
        "sending a signal",
        steps(
            kind("tell", signal="hello", body={"n": "{{ event.body }}"}), output="'{{ steps.tell.output.delivered }}'"
        ),
        [],
        [],
        False,
        python=tells,
    ),
    Waiting(
        "calling what is not there",
        steps(kind("sub", call="other", with_={"x": "{{ event.body }}"})),
        [],
        [],
        None,
        "not_found",
        python=calls,
    ),
]
