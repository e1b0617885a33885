"""The addresses that steps can be answered at, for other systems and for people."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from gateway_under_test import Gateway, gateway
from store_builders import a_step, finish, get, hold_of, running, save

from flows.history import NewWait, Status, WaitKind, step_address

FORM = {
    "type": "object",
    "required": ["amount"],
    "properties": {
        "amount": {"type": "number", "title": "How <much>?", "default": 5},
        "urgent": {"type": "boolean"},
        "kind": {"enum": ["full", "part"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "note": {"type": "string", "description": "For the customer."},
    },
}
HTML = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def on() -> AsyncIterator[Gateway]:
    async with gateway() as on:
        yield on


def address(on: Gateway, execution_id: str, path: str = "w", kind: str = "callback") -> str:
    url: str = on.app.state.callbacks.url(kind, execution_id, path)
    return "/callbacks/" + url.rpartition("/")[2]


async def waiting(on: Gateway, kind: WaitKind = WaitKind.CALLBACK, **document: Any) -> str:
    execution_id = await running(on.store)
    wait = NewWait("w", kind, step_address(execution_id, "w"), None, document or None)
    assert await on.store.park(await hold_of(on.store, execution_id), [wait])
    return execution_id


async def asking(on: Gateway, form: Any = FORM, message: str = "Refund <b>?") -> tuple[str, str]:
    execution_id = await waiting(on, WaitKind.APPROVAL, message=message, form=form)
    return execution_id, address(on, execution_id, kind="approval")


# Other systems


async def test_the_first_post_is_the_steps_output(on: Gateway) -> None:
    execution_id = await waiting(on)
    path = address(on, execution_id)

    first, second = [await on.http.post(path, json={"n": n}) for n in range(2)]

    assert (first.status_code, first.json()) == (202, {"status": "accepted", "execution_id": execution_id})
    assert (second.status_code, second.headers["content-type"]) == (409, "application/problem+json")
    assert (await get(on.store, execution_id)).waits[0].answer == {"n": 0}


async def test_one_that_comes_before_the_wait_is_kept(on: Gateway) -> None:
    execution_id = await running(on.store)
    path = address(on, execution_id)
    assert (await on.http.post(path, content=b"early")).status_code == 202
    assert (await on.http.post(path, content=b"twice")).status_code == 409

    wait = NewWait("w", WaitKind.CALLBACK, step_address(execution_id, "w"))
    await on.store.park(await hold_of(on.store, execution_id), [wait])

    assert (await get(on.store, execution_id)).waits[0].answer == "early"


async def test_looking_changes_nothing(on: Gateway) -> None:
    execution_id = await waiting(on)

    shown = await on.http.get(address(on, execution_id))

    assert (shown.status_code, shown.json()["step"]) == (200, "w")
    assert shown.headers["cache-control"] == "no-store"
    assert (await get(on.store, execution_id)).status is Status.WAITING


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_address_that_was_changed_is_not_found(on: Gateway, method: str) -> None:
    execution_id = await waiting(on)
    path = address(on, execution_id)
    other = address(on, await waiting(on))
    for forged in (path[:-2], path + "A", f"{path.partition('.')[0]}.{other.partition('.')[2]}", "/callbacks/x"):
        assert (await on.http.request(method, forged)).status_code == 404
    assert (await get(on.store, execution_id)).status is Status.WAITING


async def test_what_has_ended_is_not_answered(on: Gateway) -> None:
    waited, never = await waiting(on), await running(on.store)
    for execution_id in (waited, never):
        await finish(on.store, execution_id, Status.CANCELLED)

    assert [(await on.http.post(address(on, one))).status_code for one in (waited, never)] == [409, 409]


async def test_a_body_that_is_not_what_it_says_answers_nothing(on: Gateway) -> None:
    execution_id = await waiting(on)
    headers = {"content-type": "application/json"}
    assert (await on.http.post(address(on, execution_id), content=b"{", headers=headers)).status_code == 400
    assert (await get(on.store, execution_id)).status is Status.WAITING


# People


async def test_the_page_shows_what_is_asked(on: Gateway) -> None:
    _, path = await asking(on)

    page = await on.http.get(path)

    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "Refund &lt;b&gt;?" in page.text
    assert "How &lt;much&gt;? *" in page.text
    assert '<input type="number" name="form.amount" value="5"' in page.text
    assert '<input type="checkbox" name="form.urgent" value="true">' in page.text
    assert "<option>part</option>" in page.text
    assert "For the customer." in page.text
    assert "<script" not in page.text


async def test_a_person_decides_by_the_form(on: Gateway) -> None:
    execution_id, path = await asking(on)
    fields = {
        "decision": "approve",
        "by": "Ada",
        "form.amount": "3.5",
        "form.urgent": "true",
        "form.kind": "part",
        "form.tags": '["a"]',
        "form.note": "",
    }

    page = await on.http.post(path, data=fields)

    assert page.status_code == 200
    assert "Approved by Ada, 2026-01-01 00:00 UTC." in page.text
    [wait] = (await get(on.store, execution_id)).waits
    form = {"amount": 3.5, "urgent": True, "kind": "part", "tags": ["a"]}
    assert (wait.answer, wait.answered_by) == ({"approved": True, "form": form}, "Ada")
    assert "Approved by Ada" in (await on.http.get(path)).text


async def test_what_was_filled_in_wrong_is_shown_again(on: Gateway) -> None:
    execution_id, path = await asking(on)

    page = await on.http.post(path, data={"decision": "approve", "form.amount": "much", "form.note": '"<'})

    assert page.status_code == 422
    assert "the form does not fit: $.amount" in page.text
    assert 'name="form.note" value="&#34;&lt;"' in page.text
    assert (await get(on.store, execution_id)).status is Status.WAITING


async def test_the_second_decision_sees_the_first(on: Gateway) -> None:
    _, path = await asking(on, form=None)
    await on.http.post(path, data={"decision": "reject", "by": "Ada"})

    page = await on.http.post(path, data={"decision": "approve"})

    assert page.status_code == 409
    assert "Rejected by Ada" in page.text


async def test_a_system_may_decide_at_the_same_address(on: Gateway) -> None:
    execution_id, path = await asking(on, form=None)
    assert (await on.http.post(path, json={"approve": True})).status_code == 422
    assert (await on.http.post(path, json={"decision": "approve", "by": "bot"})).status_code == 202
    assert (await get(on.store, execution_id)).waits[0].answered_by == "bot"


async def test_a_page_for_what_is_not_asked_yet_or_any_more(on: Gateway) -> None:
    execution_id = await running(on.store)
    await save(on.store, execution_id, a_step("w", Status.RUNNING))
    path = address(on, execution_id, kind="approval")
    assert "Come back in a moment." in (await on.http.get(path)).text
    assert (await on.http.post(path, data={"decision": "approve"})).status_code == 404
    assert (await on.http.post(path, json={"decision": "approve"})).status_code == 404

    over, path = await asking(on)
    await finish(on.store, over, Status.CANCELLED)
    page = await on.http.get(path)
    assert "This is over" in page.text
    assert "<form" not in page.text
