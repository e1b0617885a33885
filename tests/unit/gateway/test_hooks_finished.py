"""`respond: {when: finished}`: the sender waits, and gets the workflow's own answer."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from gateway_under_test import ORDERS, Gateway, gateway

from flows.history import Status
from ipaas.gateway.answers import as_response


def answering(respond: str = "") -> str:
    return ORDERS + f"respond: {{when: finished{respond}}}\n"


async def answered(
    under_test: Gateway, status: Status = Status.SUCCEEDED, **outcome: Any
) -> tuple[httpx.Response, str]:
    """Sends an event, ends its execution, and gives the answer with the execution's id."""
    request = asyncio.create_task(under_test.post({"name": "Ada"}))
    execution_id = await under_test.accepted()
    await under_test.end(execution_id, status, **outcome)
    return await request, execution_id


async def test_the_answer_is_the_output():
    async with gateway(answering()) as under_test:
        answer, _ = await answered(under_test, output={"greeting": "hello"})
    assert (answer.status_code, answer.json()) == (200, {"greeting": "hello"})


async def test_the_workflow_chooses_status_body_and_headers():
    chosen = {"status": 201, "body": "Dear Ada", "headers": {"X-Order": 7}}
    async with gateway(answering()) as under_test:
        answer, _ = await answered(under_test, output={}, answer=chosen)
    assert (answer.status_code, answer.text, answer.headers["x-order"]) == (201, "Dear Ada", "7")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(("status", "code"), [(Status.FAILED, 500), (Status.TIMED_OUT, 504), (Status.CANCELLED, 500)])
async def test_an_execution_that_did_not_succeed_is_a_problem_with_its_id(status, code):
    async with gateway(answering()) as under_test:
        answer, execution_id = await answered(under_test, status, error={"code": "x", "message": "the stock is empty"})
    assert answer.status_code == code
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["execution_id"] == execution_id
    assert answer.json()["detail"] == "the stock is empty"


async def test_past_its_timeout_the_sender_gets_a_202_and_the_execution_goes_on():
    async with gateway(answering(", timeout: 50ms")) as under_test:
        answer = await under_test.post({}, headers={"Idempotency-Key": "k"})
        again = await under_test.post({}, headers={"Idempotency-Key": "k"})
        [execution] = await under_test.executions()
    assert (answer.status_code, answer.json()["status"]) == (202, "accepted")
    assert (again.status_code, again.json()["status"]) == (202, "duplicate")
    assert answer.json()["execution_id"] == again.json()["execution_id"] == execution.id
    assert execution.status is Status.ACCEPTED
    assert execution.cancel_requested is None


async def test_a_duplicate_gets_the_first_ones_answer():
    async with gateway(answering()) as under_test:
        first, second = (asyncio.create_task(under_test.post({}, headers={"Idempotency-Key": "k"})) for _ in range(2))
        execution_id = await under_test.accepted()
        await under_test.end(execution_id, output="done")
        late = await under_test.post({}, headers={"Idempotency-Key": "k"})
        answers = [await first, await second, late]
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "done")] * 3
    assert len(await under_test.executions()) == 1


async def test_a_duplicate_gets_the_answer_of_its_own_version_after_a_deploy():
    async with gateway(answering()) as under_test:
        first = asyncio.create_task(under_test.post({}, headers={"Idempotency-Key": "k"}))
        execution_id = await under_test.accepted()
        await under_test.publish(ORDERS + "description: answers at once\n")
        waiting = asyncio.create_task(under_test.post({}, headers={"Idempotency-Key": "k"}))
        await asyncio.sleep(0)
        await under_test.end(execution_id, output="done")
        late = await under_test.post({}, headers={"Idempotency-Key": "k"})
        answers = [await first, await waiting, late]
        other = await under_test.post({}, headers={"Idempotency-Key": "other"})
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "done")] * 3
    assert (other.status_code, other.json()["status"]) == (202, "accepted")


async def test_a_duplicate_of_a_version_that_answered_at_once_is_answered_at_once():
    async with gateway(ORDERS) as under_test:
        first = await under_test.post({}, headers={"Idempotency-Key": "k"})
        await under_test.publish(answering())
        async with asyncio.timeout(5):  # the new version would hold the sender for 25 s
            again = await under_test.post({}, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["status"]) == (202, "duplicate")
    assert again.json()["execution_id"] == first.json()["execution_id"]


async def test_a_path_goes_over_from_a_deactivated_workflow_to_the_one_that_has_it_now():
    async with gateway(ORDERS) as under_test:
        await under_test.store.set_active("orders", False)
        await under_test.publish(ORDERS.replace("name: orders", "name: shop").replace("auth", "path: orders, auth"))
        answer = await under_test.post({})
        [execution] = await under_test.executions()
    assert (answer.status_code, execution.workflow) == (202, "shop")


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ({"problem": "respond: output has no missing"}, "respond: output has no missing"),
        ({"status": 600, "headers": {}, "body": None}, "respond: 600 is no status to answer with"),
        ({"status": 200, "headers": {"X-A": "a\nb"}, "body": None}, "respond: header X-A"),
    ],
)
async def test_an_answer_that_cannot_be_made_is_a_problem_with_the_id(stored, said):
    async with gateway(answering()) as under_test:
        answer, execution_id = await answered(under_test, output={}, answer=stored)
    assert answer.status_code == 500
    assert answer.json()["execution_id"] == execution_id
    assert answer.json()["detail"].startswith(said)


async def test_an_execution_that_began_without_an_answer_to_give_is_a_202():
    async with gateway(answering()) as under_test:
        answer, execution_id = await answered(under_test, output={}, answer=None)
    assert (answer.status_code, answer.json()["execution_id"]) == (202, execution_id)


async def test_a_gateway_that_stops_gives_a_202_to_those_who_still_wait():
    async with gateway(answering()) as under_test:
        request = asyncio.create_task(under_test.post({}))
        execution_id = await under_test.accepted()
        under_test.app.state.waiting.give_up()
        answer = await request
    assert (answer.status_code, answer.json()["execution_id"]) == (202, execution_id)


async def hang_up(under_test: Gateway) -> str:
    """Sends an event and leaves once it is stored; the execution's id. (httpx's ASGI transport can't leave.)"""
    left = asyncio.Event()
    body = [{"type": "http.request", "body": b"{}", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if body:
            return body.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        return None

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/hooks/orders",
        "raw_path": b"/hooks/orders",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"host", b"gateway.test")],
        "scheme": "http",
        "client": ("192.0.2.9", 1),
        "server": ("gateway.test", 80),
    }
    request = asyncio.create_task(under_test.app(scope, receive, send))
    execution_id = await under_test.accepted()
    left.set()
    await request
    return execution_id


async def test_a_sender_that_hangs_up_cancels_where_the_workflow_says_so():
    async with gateway(answering(", on_disconnect: cancel")) as under_test:
        execution_id = await hang_up(under_test)
        execution = await under_test.store.execution(execution_id)
    assert execution
    assert execution.status is Status.CANCELLED
    assert execution.cancel_requested == {"by": "the sender", "reason": "hung up"}
    assert under_test.counted("ipaas_senders_hung_up_total", workflow="orders") == 1


async def test_a_sender_that_hangs_up_changes_nothing_otherwise():
    async with gateway(answering()) as under_test:
        execution_id = await hang_up(under_test)
        execution = await under_test.store.execution(execution_id)
    assert execution
    assert (execution.status, execution.cancel_requested) == (Status.ACCEPTED, None)


async def test_an_execution_that_another_sender_waits_for_is_not_cancelled():
    text = answering(", on_disconnect: cancel").replace("auth: none", "auth: none, dedupe: same")
    async with gateway(text) as under_test:
        other = asyncio.create_task(under_test.post({}))
        execution_id = await under_test.accepted()
        assert await hang_up(under_test) == execution_id
        await under_test.end(execution_id, output="done")
        assert (await other).text == "done"


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (199, {}),
        (600, {}),
        ("many", {}),
        (200, {"X-A": "a\r\nX-B: b"}),
        (200, {"X A": "a"}),
        (200, {"X-A": "\u20ac"}),
        (200, {"Content-Length": "7"}),
        (200, {"Transfer-Encoding": "chunked"}),
    ],
)
def test_an_answer_that_http_has_no_room_for_is_refused(status, headers):
    with pytest.raises(ValueError):
        as_response(status, "body", headers)


def test_an_answer_may_hold_what_utf_8_has_no_form_for():
    assert as_response(200, {"a": "\ud800"}, {}).body == b'{"a":"\\ud800"}'


def test_a_status_without_a_body_has_none():
    assert as_response(204, {"a": 1}, {}).body == b""
