"""Waits do the same in YAML, in Python and in ejected Python, and hold nothing in any of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from executing import Bench, bench, in_yaml, steps
from executing import step as kind
from scenario import ejected
from waiting import WAITING, Waiting

from flows.engine.execution import accept_event, run_execution
from flows.history import Delivery, Status, step_address
from flows.language.event import Event
from flows.on_prefect.flow import WorkflowFlow
from flows.on_prefect.python_source import load_python_file
from foundation.errors import DefinitionError
from ipaas.eject import eject

FORMS = [
    pytest.param(one, form, id=f"{one.name}-{form}".replace(" ", "_"))
    for one in WAITING
    for form in ("yaml", "python", "ejected")
    if form != "python" or one.python
]


def in_form(one: Waiting, form: str, folder: Path) -> WorkflowFlow:
    if form == "ejected":
        (folder / "ejected.py").write_text(ejected(one.yaml))
        return load_python_file(folder / "ejected.py")[0]
    return one.python if form == "python" and one.python else in_yaml(one.yaml)


async def answered(on: Bench, execution_id: str, answer: tuple[str, Any] | int) -> None:
    if isinstance(answer, int):
        on.clock.move(hours=answer)
        assert await on.store.wake(limit=10)
        return
    to, body = answer
    address = to if to.startswith("signal:") else step_address(execution_id, to)
    assert await on.store.answer(address, body, by="Ada", keep=60) is Delivery.DELIVERED


def said(request: httpx.Request) -> Any:
    """What was sent, in which an address is `URL`."""
    return json.loads(re.sub(r"https?://[^\s\"]+/callbacks/[\w.-]+", "URL", request.content.decode() or "null"))


@pytest.mark.parametrize(("one", "form"), FORMS)
async def test_a_wait_does_the_same_in_every_form(one: Waiting, form: str, tmp_path: Path) -> None:
    async with bench() as on:
        flow = in_form(one, form, tmp_path)
        execution_id = await accept_event(on.runtime, flow.program, Event(body=one.body))
        for answer in one.answers:
            outcome = await run_execution(on.runtime, execution_id, flow.program)
            assert outcome.status is Status.WAITING, outcome
            await answered(on, execution_id, answer)
        await run_execution(on.runtime, execution_id, flow.program)
        execution = await on.last()

    sent = [(request.url.path, said(request)) for request in on.remote.requests]
    assert sent == list(one.requests)
    code = execution.error["code"] if execution.error else None
    assert (code, execution.output) == (one.error, one.output), execution.error


def test_the_address_of_an_approval_is_for_who_is_told_of_it() -> None:
    early = steps(
        kind("say", uses="log.message", with_={"text": "{{ callbacks.ask }}"}), kind("ask", approve={"message": "Go?"})
    )

    with pytest.raises(
        DefinitionError, match=r"orders\.yaml:4:5: step ask: callbacks\.ask in step say has no equivalent"
    ):
        eject(f"name: test\n{early}", "orders.yaml")
